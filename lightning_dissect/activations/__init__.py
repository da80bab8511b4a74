"""What layers put out: which are watched, the hooks that undo themselves, and what each axis means."""
