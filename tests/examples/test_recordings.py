import numpy as np
import pytest
import soundfile
import torch
from recordings import UnusableRecordingError, read_clip, read_folder


def tone(seconds, rate, frequency=440.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def folder(tmp_path):
    for name, frequency in (("high", 1000.0), ("low", 200.0)):
        (tmp_path / name).mkdir()
        for n, (suffix, rate) in enumerate([("wav", 44_100), ("flac", 16_000), ("ogg", 48_000), ("mp3", 22_050)]):
            soundfile.write(tmp_path / name / f"{n}.{suffix}", tone(1.0, rate, frequency), rate)
    return tmp_path


def frequency_of(clip, rate):
    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
    return np.argmax(spectrum) * rate / len(clip)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_formats_and_rates(tmp_path, suffix, rate):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone(2.0, rate), np.zeros(2 * rate)], axis=1), rate)
    clip = read_clip(path, 12_000, 1.0)
    assert clip.shape == (12_000,)
    assert clip.dtype == np.float32
    assert abs(frequency_of(clip, 12_000) - 440) <= 1
    # the mean of a tone of amplitude 0.5 and a silent channel; ogg and mp3 are lossy
    assert abs(np.sqrt(2 * np.mean(clip[2000:10_000] ** 2)) - 0.25) < 0.02


def test_long_recordings_are_cut_to_their_centre(tmp_path):
    audio = np.concatenate([tone(2, 12_000, 300), tone(1, 12_000, 1000), tone(2, 12_000, 300)])
    soundfile.write(tmp_path / "long.wav", audio, 12_000)
    # one 16-bit step
    np.testing.assert_allclose(read_clip(tmp_path / "long.wav", 12_000, 1.0), tone(1, 12_000, 1000), atol=2**-15)


def test_short_recordings_are_padded_at_the_end(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(0.5, 12_000), 12_000)
    clip = read_clip(tmp_path / "short.wav", 12_000, 1.0)
    np.testing.assert_allclose(clip[:6000], tone(0.5, 12_000), atol=2**-15)
    assert not clip[6000:].any()


def test_bad_files_say_why(tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "nothing.mp3").touch()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 12_000)
    soundfile.write(tmp_path / "short.wav", tone(0.1, 12_000), 12_000)
    soundfile.write(tmp_path / "nan.wav", np.full(12_000, np.nan), 12_000, subtype="FLOAT")
    reasons = [("text.wav", "unreadable"), ("nothing.mp3", "unreadable"), ("empty.wav", "empty"), ("nan.wav", "NaN")]
    for name, reason in [*reasons, ("short.wav", r"too short \(0.10 s"), ("missing.wav", "unreadable")]:
        with pytest.raises(UnusableRecordingError, match=reason):
            read_clip(tmp_path / name, 12_000, 1.0)


def test_folder(folder):
    (folder / "high" / "bad.wav").write_text("not audio")
    (folder / "high" / "notes.txt").write_text("not meant to be audio")
    (folder / "lonely").mkdir()
    soundfile.write(folder / "lonely" / "one.wav", tone(1, 12_000), 12_000)
    (folder / ".hidden").mkdir()
    recordings = read_folder(folder, 12_000, 1.0)
    assert recordings.classes == ("high", "low")
    assert [(path.name, reason.split()[0]) for path, reason in recordings.skipped] == [
        ("bad.wav", "unreadable"),
        ("lonely", "1"),
    ]
    assert [round(frequency_of(clip, 12_000), -1) for clip in recordings.waveforms.numpy()] == [1000] * 4 + [200] * 4
    assert recordings.labels.tolist() == [0] * 4 + [1] * 4
    train, validation = recordings.split("train", 100), recordings.split("validation", 100)
    assert train.tensors[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert validation.tensors[1].tolist() == [0, 1]
    assert torch.bincount(recordings.split("train", 4).tensors[1]).tolist() == [2, 2]


def test_fewer_than_two_classes_is_an_error_that_lists_what_was_skipped(folder):
    for path in (folder / "low").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"has 1 usable classes, at least two(?s:.*)skipped .*0\.wav: unreadable"):
        read_folder(folder, 12_000, 1.0)
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        read_folder(folder / "nowhere", 12_000, 1.0)
