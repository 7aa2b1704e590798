"""Public keys of users: the lines of an `authorized_keys` file, their formats, options, certificates and revocations."""
