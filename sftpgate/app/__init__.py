"""The composition root and the use cases: plain values and an actor in, records out, errors raised; nothing of a face.

A command line, a web page and an HTTP API call the same functions. What only looks takes the settings and a ledger, which is None
before the first start. What changes takes a ``Site`` that the caller has opened, and the ``Actor`` who asked for it. Nothing here
prints, and nothing here knows Typer, rich or HTTP.

``composition`` builds a site, ``context`` says which settings and whose rights a process has, ``serving`` puts the processes of a
gate together. All else are use cases, each module named after what it is about.
"""
