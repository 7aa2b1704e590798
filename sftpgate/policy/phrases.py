"""What the report of a run says, in each language that its reader may have.

Pure. A key is the English text itself, so that a report reads the same in the code as on paper; a test finds a text that a
language does not have. The names at the beginning of a line (``outcome:``) are translated too: people read them, and programs
read the ledger (``sftpgate show --json``).
"""

from __future__ import annotations

from collections.abc import Mapping

from sftpgate.policy.runs import RunOutcome
from sftpgate.settings import Language

_FRENCH: Mapping[str, str] = {
    "tool": "outil",
    "arrival": "arrivée",
    "user": "utilisateur",
    "path": "chemin",
    "size": "taille",
    "SHA-256": "SHA-256",
    "received": "reçu",
    "started": "début",
    "ended": "fin",
    "exit status": "code de retour",
    "attempt": "tentative",
    "outcome": "résultat",
    "because": "cause",
    "rows": "lignes lues",
    "accepted": "lignes acceptées",
    "rejected": "lignes rejetées",
    "rejected row": "ligne rejetée",
    "what next": "suite",
    "notice": "remarque",
    "(a local program)": "(un programme local)",
    "(not known)": "(inconnu)",
    "{size} bytes": "{size} octets",
    "{attempt} of {most}": "{attempt} sur {most}",
    "killed by signal {signal}": "arrêté par le signal {signal}",
    "line {line}": "ligne {line}",
    "and {more} more": "et {more} de plus",
    "done": "traité",
    "done with rejected rows": "traité, avec des lignes rejetées",
    "done with {rejected} rejected": "traité, {rejected} ligne(s) rejetée(s)",
    "failed": "échec",
    "not the file's fault": "le fichier n'est pas en cause",
    "timed out": "délai dépassé",
    "interrupted": "interrompu",
    "died": "interrompu par une panne",
    "released": "rendu",
    "the file is set aside and is not tried again: correct it and send it again, or ask the administrators": (
        "le fichier est mis de côté et ne sera plus essayé : corrigez-le et renvoyez-le, ou demandez aux administrateurs"
    ),
    "the file is tried again, and keeps its place until then": "le fichier sera essayé de nouveau, et garde sa place jusque-là",
    "the file is tried again, unless a newer one of its name comes first": (
        "le fichier sera essayé de nouveau, sauf si un plus récent du même nom arrive avant"
    ),
    "the platform was not able to take the file; it is tried again later, and you need not do anything": (
        "la plateforme n'a pas pu prendre le fichier ; il sera essayé plus tard, vous n'avez rien à faire"
    ),
    "the rejected rows are beside this report, in the file {tryback}: correct them there, and send it": (
        "les lignes rejetées sont à côté de ce rapport, dans le fichier {tryback} : corrigez-les, et envoyez ce fichier"
    ),
    "the rejected rows were not taken: correct them, and send them again": (
        "les lignes rejetées n'ont pas été prises : corrigez-les, et renvoyez-les"
    ),
    "the file has no line {line}, or it is too long to be given back": (
        "le fichier n'a pas de ligne {line}, ou elle est trop longue pour être rendue"
    ),
    "the file has no line {line}, or it is too long to be given back, and the same with {more} more": (
        "le fichier n'a pas de ligne {line}, ou elle est trop longue pour être rendue, et de même pour {more} autre(s)"
    ),
    "the file of rejected rows does not have all: of {others} nobody knows the line, or they are too many": (
        "le fichier des lignes rejetées ne les a pas toutes : pour {others}, personne ne sait quelle ligne c'est, "
        "ou elles sont trop nombreuses"
    ),
    "the command says that it failed": "la commande dit qu'elle a échoué",
    "the command says that it is to be tried later": "la commande dit qu'elle est à essayer plus tard",
    "the command ended, but processes that it had started did not: they were stopped": (
        "la commande s'est terminée, mais pas tous les processus qu'elle avait lancés : ils ont été arrêtés"
    ),
}

_LANGUAGES: Mapping[Language, Mapping[str, str]] = {Language.ENGLISH: {}, Language.FRENCH: _FRENCH}


def phrase(text: str, language: Language, **values: object) -> str:
    """``text`` in a language, with its values put in."""
    return _LANGUAGES[language].get(text, text).format(**values) if values else _LANGUAGES[language].get(text, text)


def outcome_phrase(outcome: RunOutcome, rejected: int | None, language: Language) -> str:
    """An outcome for people: ``done with 3 rejected``."""
    if outcome is RunOutcome.DONE_WITH_REJECTED:
        if rejected:
            return phrase("done with {rejected} rejected", language, rejected=rejected)
        return phrase("done with rejected rows", language)
    return phrase(outcome.value, language)
