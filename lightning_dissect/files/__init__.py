"""What a run leaves on disk: whole or not at all, and nowhere but in its own folder."""

from lightning_dissect.files.names import file_name, shorten_name
from lightning_dissect.files.places import Place, RemotePath, find_place, is_inside, on_disk
from lightning_dissect.files.whole import whole

__all__ = ["Place", "RemotePath", "file_name", "find_place", "is_inside", "on_disk", "shorten_name", "whole"]
