import librosa
import numpy as np
import pytest
import torch
from instruments import INSTRUMENTS, Instrument, InstrumentData, render_clip, render_clips, render_phrase

BY_NAME = {instrument.name: instrument for instrument in INSTRUMENTS}


def test_splits_share_no_key():
    for instrument in INSTRUMENTS:
        train, validation = set(instrument.keys("train")), set(instrument.keys("validation"))
        assert train.isdisjoint(validation)
        assert min(len(train), len(validation)) >= 5
        assert train | validation == set(range(instrument.low, instrument.high + 1))


@pytest.mark.parametrize(("name", "key"), [("flute", 69), ("clarinet", 62), ("violin", 76), ("trumpet", 60)])
def test_pitch_is_the_keys(name, key):
    clip = render_phrase(BY_NAME[name], [key], [100], 12_000, 2.0)
    pitch = librosa.yin(clip, fmin=60, fmax=2000, sr=12_000)
    # a quarter tone, since vibrato moves the pitch
    assert abs(np.median(librosa.hz_to_midi(pitch)) - key) < 0.5


def test_number_of_notes_is_the_number_of_onsets():
    for n_notes in (1, 3, 6):
        clip = render_phrase(BY_NAME["marimba"], [60, 64, 67, 72, 60, 65][:n_notes], [100] * n_notes, 12_000, 3.0)
        padded = np.concatenate([np.zeros(3000, np.float32), clip])
        assert len(librosa.onset.onset_detect(y=padded, sr=12_000, hop_length=128)) == n_notes


def test_nothing_of_a_clip_rings_into_the_next():
    quiet = render_phrase(BY_NAME["violin"], [76], [60], 12_000, 1.0)
    render_phrase(BY_NAME["organ"], [48, 60], [127, 127], 12_000, 1.0)
    np.testing.assert_array_equal(render_phrase(BY_NAME["violin"], [76], [60], 12_000, 1.0), quiet)


def test_clips_are_varied_and_never_silent():
    clips, labels = render_clips(200, "train", 12_000, 3.0).tensors
    assert clips.shape == (200, 36_000)
    assert clips.dtype == torch.float32
    assert torch.bincount(labels).tolist() == [20] * len(INSTRUMENTS)
    peaks = 20 * torch.log10(clips.abs().amax(dim=1))
    assert peaks.min() > -24.1
    assert peaks.max() < -0.9
    assert peaks.std() > 4


def test_rendering_is_repeatable_and_splits_differ():
    one, again = render_clips(10, "train", 12_000, 1.0).tensors[0], render_clips(10, "train", 12_000, 1.0).tensors[0]
    assert torch.equal(one, again)
    assert not torch.allclose(one, render_clips(10, "validation", 12_000, 1.0).tensors[0], atol=1e-2)


def test_a_silent_instrument_is_named():
    # General MIDI's saxophones, which this soundfont has a gap in
    with pytest.raises(ValueError, match="saxophone is silent"):
        render_clip(Instrument("saxophone", 65, 64, 64), "train", np.random.default_rng(0), 12_000, 1.0)


def test_data_module_gives_waveforms_and_labels():
    data = InstrumentData(n_train=40, n_validation=20, batch_size=8, seconds=1.0)
    waveform, label = next(iter(data.train_dataloader()))
    assert waveform.shape == (8, 12_000)
    assert label.shape == (8,)
    first, second = ([labels for _, labels in data.val_dataloader()] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert sum(map(len, first)) == 20
    assert data.classes[0] == "piano"
