"""What may be asked of objects that programs share: dicts, queues, volumes, secrets."""
