"""The API over HTTP, for programs: OpenAPI 3.1 under ``/api/v1``, made from the types of its routes."""
