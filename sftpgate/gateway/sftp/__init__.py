"""SFTP: sessions, requests, handles, and what a client is told."""
