"""What layers put out: which are dissected, the hooks that undo themselves, and what each axis means."""
