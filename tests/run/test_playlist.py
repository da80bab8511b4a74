"""Playlists against a plain version that keeps everything."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed, multiprocessing

from lightning_dissect.levels import Extent, Levels
from lightning_dissect.run import excerpts
from lightning_dissect.run import playlist as playlist_module
from lightning_dissect.run.excerpts import Excerpt
from lightning_dissect.run.playlist import Played, Playlist, Playlists

RATE = 100


def play(
    playlist: Playlist,
    waveform: Tensor,
    layers: dict[str, Tensor],
    lengths: Tensor | None = None,
    dataloader: int = 0,
    batch: int = 4,
    before: int = 0,
) -> Playlist:
    """Show clips to a playlist batch after batch; activations are (clips, units, frames) or (clips, units)."""
    for start in range(0, len(waveform), batch):
        part = slice(start, start + batch)
        fraction = None if lengths is None else lengths[part] / waveform.shape[1]
        playlist.begin(waveform[part], Extent(len(waveform[part]), 50, fraction, 0), {}, dataloader, before + start)
        for layer, values in layers.items():
            frame = values[part] if values.ndim == 3 else None
            playlist.receive(layer, Levels(values[part] if frame is None else frame.mean(-1), frame, None))
        playlist.end()
    return playlist


def slow(values: Tensor, unit: int, clips: int = 3) -> list[tuple[int, float]]:
    """The strongest clips of a unit and their peaks, by sorting everything."""
    peaks = values[:, unit].reshape(len(values), -1).amax(1)
    order = sorted(range(len(peaks)), key=lambda clip: -float(peaks[clip]))[:clips]
    return [(clip, float(peaks[clip])) for clip in order]


def rows(played: Played, layer: str, unit: int) -> pd.DataFrame:
    return played.table[(played.table["layer"] == layer) & (played.table["unit"] == unit)]


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@given(
    clips=st.integers(1, 23), units=st.integers(1, 6), batch=st.integers(1, 9), k=st.integers(1, 5),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_strongest_clips_are_those_found_by_sorting_everything(
    clips: int, units: int, batch: int, k: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(clips, 1000, generator=generator)
    layers = {
        "conv": torch.randn(clips, units, 20, generator=generator),
        "dense": torch.randn(clips, units, generator=generator),
    }
    played = play(Playlist(RATE, Playlists(clips=k)), waveform, layers, batch=batch).compute()
    for layer, values in layers.items():
        for unit in range(units):
            found = rows(played, layer, unit)
            assert list(zip(found["clip"], found["activation"], strict=True)) == slow(values, unit, k)
            assert found["rank"].tolist() == list(range(1, min(k, clips) + 1))


def test_times_and_audio_are_those_of_the_clips(rng: torch.Generator) -> None:
    waveform = torch.rand(20, 1010, generator=rng) - 0.5
    frames = torch.rand(20, 3, 40, generator=rng)
    played = play(Playlist(RATE), waveform, {"conv": frames, "dense": frames.mean(-1)}).compute()
    for row in played.table.itertuples():
        assert 0 <= row.start < row.end <= 10.1
        assert row.end - row.start <= 3.0 + 1e-4
        assert row.start % 1.5 == 0
        audio = played.audio[Excerpt(0, 0, row.clip, row.start)]
        first = round(row.start * RATE)
        expected = waveform[row.clip, first : first + len(audio)]
        assert len(audio) == round((row.end - row.start) * RATE)
        # kept in half precision: 11 bits
        np.testing.assert_allclose(audio, expected, atol=2**-12)
        if row.layer == "conv":
            peak = int(frames[row.clip, row.unit].argmax())
            assert row.time == pytest.approx((peak + 0.5) / 40 * 10.1, abs=1e-4)
            assert row.start <= row.time <= row.end
            # at least a quarter of the excerpt lies on either side, but for the clip's own ends
            assert row.time - row.start >= 0.74 or row.start == 0
            assert row.end - row.time >= 0.74 or row.end == pytest.approx(10.1, abs=1e-4)
        else:
            assert np.isnan(row.time)
            assert row.start <= 5.05 <= row.end


def test_padding_is_neither_listened_to_nor_kept() -> None:
    waveform, frames = torch.ones(4, 1000), torch.ones(4, 1, 100)
    lengths = torch.tensor([1000, 500, 130, 0])
    frames[1, 0, 30], frames[1, 0, 80], frames[2, 0, 5] = 3.0, 9.0, 4.0
    frames[3] = 20.0
    played = play(Playlist(RATE), waveform, {"conv": frames}, lengths).compute()
    assert played.table[["clip", "activation"]].values.tolist() == [[2, 4.0], [1, 3.0], [0, 1.0]]
    assert played.table["end"].tolist()[:2] == pytest.approx([1.3, 4.5])
    assert len(played.audio[Excerpt(0, 0, 2, 0.0)]) == 130


def test_batches_of_different_lengths_fill_one_pool() -> None:
    playlist = Playlist(RATE)
    for before, samples, value in ((0, 150, 1.0), (2, 420, 2.0), (4, 1000, 3.0)):
        play(
            playlist,
            torch.full((2, samples), value / 4),
            {"conv": value + torch.arange(2.0)[:, None, None] / 9 + torch.zeros(2, 1, 10)},
            before=before,
        )
    played = playlist.compute()
    assert played.table["clip"].tolist() == [5, 4, 3]
    assert {round(float(audio.mean()), 2) for audio in played.audio.values()} == {0.75, 0.5}


def test_dead_broken_and_silent_units_have_no_playlist(rng: torch.Generator) -> None:
    frames = torch.rand(8, 4, 10, generator=rng)
    frames[:, 1] = 0.0
    frames[:, 2] = torch.nan
    frames[3:, 3] = torch.inf
    played = play(Playlist(RATE), torch.randn(8, 300, generator=rng), {"conv": frames}).compute()
    assert played.table.groupby("unit").size().to_dict() == {0: 3, 3: 3}
    assert set(rows(played, "conv", 3)["clip"]) == {0, 1, 2}


def test_nan_in_the_audio_is_silence_in_the_excerpt() -> None:
    waveform = torch.full((1, 300), torch.nan)
    played = play(Playlist(RATE), waveform, {"conv": torch.ones(1, 1, 9)}).compute()
    assert not played.audio[Excerpt(0, 0, 0, 0.0)].any()


def test_loaders_are_told_apart(rng: torch.Generator) -> None:
    playlist = Playlist(RATE, Playlists(clips=2))
    for dataloader, factor in ((0, 1.0), (1, 2.0)):
        waveform, frames = torch.full((5, 300), 0.1 + dataloader / 2), torch.rand(5, 1, 9, generator=rng) + factor
        play(playlist, waveform, {"conv": frames}, dataloader=dataloader)
    played = playlist.compute()
    assert played.table["dataloader"].tolist() == [1, 1]
    assert played.table["clip"].max() < 5
    assert all(np.allclose(audio, 0.6, atol=1e-3) for audio in played.audio.values())


def test_a_full_pool_keeps_what_most_units_want(rng: torch.Generator) -> None:
    waveform = torch.arange(64.0)[:, None].expand(64, 300) / 64
    frames = torch.rand(64, 40, 9, generator=rng)
    # Clips 7 and 50 drive all units but two, which have clips of their own.
    frames[7, :38], frames[50, :38] = 5.0, 4.0
    playlist = play(Playlist(RATE, Playlists(clips=2, excerpts=8)), waveform, {"conv": frames})
    played = playlist.compute()
    assert len(played.audio) <= 8
    assert {7, 50} <= {excerpt.clip for excerpt in played.audio}
    assert all(np.allclose(audio, excerpt.clip / 64, atol=1e-3) for excerpt, audio in played.audio.items())
    assert len(played.table) == 80


def test_a_full_pool_keeps_what_favoured_units_want(rng: torch.Generator) -> None:
    """Of 400 units that each want clips of their own, the pool holds a few: those of the units that were labelled."""
    waveform, frames = torch.rand(200, 300, generator=rng), torch.rand(200, 400, 9, generator=rng)
    layers = {"conv": frames, "dense": torch.rand(200, 50, generator=rng)}
    favoured = pd.DataFrame({"layer": ["conv"] * 3 + ["dense"], "unit": [7, 200, 399, 12]})
    plain = play(Playlist(RATE, Playlists(excerpts=16)), waveform, layers).compute(favoured)
    found = play(Playlist(RATE, Playlists(excerpts=16), favoured=favoured), waveform, layers).compute(favoured)
    pd.testing.assert_frame_equal(found.table, plain.table)
    wanted = found.table.merge(favoured)[list(Excerpt._fields)].drop_duplicates()
    assert len(plain.audio) < len(found.audio) == len(wanted) == 12


def test_memory_does_not_grow_with_clips(rng: torch.Generator) -> None:
    sizes = []
    for clips in (16, 160):
        waveform, frames = torch.randn(clips, 400, generator=rng), torch.rand(clips, 7, 9, generator=rng)
        sizes.append(play(Playlist(RATE), waveform, {"conv": frames}).n_bytes)
    # 256 excerpts of 300 half-precision samples and a key, 7 units of 3 clips with two keys' worth of numbers
    assert sizes == [256 * (300 * 2 + 8) + 7 * 3 * (8 + 3 * 4)] * 2


def test_only_the_units_asked_for_bring_audio(rng: torch.Generator) -> None:
    waveform, frames = torch.randn(30, 300, generator=rng), torch.rand(30, 5, 9, generator=rng)
    playlist = play(Playlist(RATE), waveform, {"conv": frames})
    some = pd.DataFrame({"layer": ["conv"], "unit": pd.array([2], dtype="Int32")})
    played = playlist.compute(some)
    assert {excerpt.clip for excerpt in played.audio} == set(rows(played, "conv", 2)["clip"])
    assert played.table["unit"].nunique() == 5


def test_a_run_without_clips_has_an_empty_playlist() -> None:
    played = Playlist(RATE).compute()
    assert played.table.empty
    assert not played.audio


def test_nothing_waits_for_the_device(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there are no values to wait for: whatever asks for one raises."""
    meta = {"device": "meta"}
    playlist = Playlist(RATE)
    for _ in range(2):
        extent = Extent(4, 50, torch.ones(4, **meta), 0)
        playlist.begin(torch.empty(4, 1000, **meta), extent, {}, 0, 0)
        playlist.receive("conv", Levels(torch.empty(4, 3, **meta), torch.empty(4, 3, 9, **meta), None))
        playlist.receive("dense", Levels(torch.empty(4, 3, **meta), None, None))
        playlist.end()
    assert playlist._top["conv"].activation.shape == (3, 3)


def _one_process(rank: int, world: int, port: int, folder: str, waveform: Tensor, frames: Tensor) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    playlist = Playlist(RATE)
    play(playlist, waveform[rank::world], {"conv": frames[rank::world]})
    played = playlist.compute()
    if rank == 0:
        torch.save((played.table, played.audio), Path(folder) / "played.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_give_the_playlist_of_one(rng: torch.Generator, tmp_path: Path) -> None:
    waveform, frames = torch.rand(17, 400, generator=rng), torch.rand(17, 4, 9, generator=rng)
    alone = play(Playlist(RATE), waveform, {"conv": frames}).compute()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments: tuple[Any, ...] = (2, port, str(tmp_path), waveform, frames)
    multiprocessing.spawn(_one_process, arguments, nprocs=2)
    table, audio = torch.load(tmp_path / "played.pt", weights_only=False)
    assert (table["clip"] * 2 + table["process"]).tolist() == alone.table["clip"].tolist()
    columns = ["unit", "rank", "time", "start", "end", "activation"]
    pd.testing.assert_frame_equal(table[columns], alone.table[columns])
    for excerpt, samples in audio.items():
        same = alone.audio[Excerpt(0, 0, excerpt.clip * 2 + excerpt.process, excerpt.start)]
        np.testing.assert_array_equal(samples, same)
    assert len(audio) == len(alone.audio)


def test_a_process_without_clips_takes_part(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform, frames = torch.rand(6, 400, generator=rng), torch.rand(6, 4, 9, generator=rng)
    alone = play(Playlist(RATE), waveform, {"conv": frames}).compute()
    monkeypatch.setattr(playlist_module, "gather", lambda value: [{}, value, {}])
    monkeypatch.setattr(excerpts, "_process", lambda: 1)
    second = play(Playlist(RATE), waveform, {"conv": frames}).compute()
    assert set(second.table["process"]) == {1}
    pd.testing.assert_frame_equal(second.table.assign(process=alone.table["process"]), alone.table)
    assert {excerpt._replace(process=0) for excerpt in second.audio} == set(alone.audio)


def test_loud_moments_of_real_clips_are_found(clips: Callable[..., Tensor]) -> None:
    """A unit that is the clip's level in frames: its moment is where the excerpt is loudest."""
    waveform = clips(24, seconds=6.0, sample_rate=2_000)
    level = waveform.unfold(1, 200, 200).square().mean(-1).sqrt()[:, None]
    played = play(Playlist(2_000), waveform, {"level": level}).compute()
    loudest = level[:, 0].amax(1).argsort(descending=True)[:3]
    assert played.table["clip"].tolist() == loudest.tolist()
    for row in played.table.itertuples():
        audio = played.audio[Excerpt(0, 0, row.clip, row.start)]
        moment = round((row.time - row.start) * 2_000)
        rms = np.sqrt(np.mean(audio[moment - 100 : moment + 100] ** 2))
        assert rms == pytest.approx(row.activation, rel=0.01)
