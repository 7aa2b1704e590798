"""What notifications say of each kind of event, in the languages of their readers. Pure.

A kind is a name of ``notification_rules.kinds_of``. A text has ``{file}``, ``{tool}``, ``{user}`` and the names of the event's
own details in it; what an event does not have is left empty. ``for_senders``: whether the sender of the file may be told.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from sftpgate.settings.choices import Language


@dataclass(frozen=True, slots=True)
class EventText:
    """One sentence, in each language."""

    english: str
    french: str
    for_senders: bool = False

    def in_language(self, language: Language) -> str:
        """Return the sentence in a language, its values not put in."""
        return self.french if language is Language.FRENCH else self.english


TEXTS: Mapping[str, EventText] = {
    "arrival.received": EventText("{file} has arrived.", "{file} est arrivé.", for_senders=True),
    "arrival.held": EventText("{file} is held.", "{file} est retenu.", for_senders=True),
    "arrival.awaiting": EventText("{file} waits before it goes on.", "{file} attend avant de continuer.", for_senders=True),
    "arrival.published": EventText("{file} is ready for its tool.", "{file} est prêt pour son outil.", for_senders=True),
    "arrival.queued": EventText(
        "{file} waits behind an earlier file of its name.", "{file} attend derrière un fichier plus ancien du même nom.", True
    ),
    "arrival.set_aside": EventText(
        "{file} lies in the drop under a name that is never taken.",
        "{file} reste au dépôt sous un nom qui n'est jamais pris.",
        True,
    ),
    "arrival.replaced": EventText(
        "{file} was replaced by a newer file of its name before a tool took it.",
        "{file} a été remplacé par un fichier plus récent du même nom avant qu'un outil ne le prenne.",
        True,
    ),
    "arrival.withdrawn": EventText("{file} was removed by its sender.", "{file} a été supprimé par son expéditeur.", True),
    "arrival.discarded": EventText("{file} was removed on the server.", "{file} a été supprimé sur le serveur.", True),
    "arrival.rejected": EventText(
        "{file} was rejected by the administrators.", "{file} a été rejeté par les administrateurs.", True
    ),
    "arrival.approved": EventText("{file} was approved by an administrator.", "{file} a été approuvé par un administrateur."),
    "arrival.warned": EventText(
        "{file} goes on, although its contract objects: {because}", "{file} continue, bien que son contrat objecte : {because}"
    ),
    "arrival.converted": EventText(
        "{file} was converted from {from} to {to}; what was sent is in the archives.",
        "{file} a été converti de {from} en {to} ; ce qui a été envoyé est dans les archives.",
    ),
    "arrival.approval_ended": EventText(
        "The approval of {file} has ended, and no tool had run on it: it is held again.",
        "L'approbation de {file} a pris fin sans qu'un outil l'ait traité : il est de nouveau retenu.",
    ),
    "arrival.made_to_undo": EventText(
        "{file} was made to undo what another file did, and waits for approval.",
        "{file} a été fait pour annuler ce qu'un autre fichier a fait, et attend une approbation.",
    ),
    "arrival.claimed": EventText("A tool has taken {file}.", "Un outil a pris {file}.", True),
    "arrival.returned": EventText(
        "{file} was given back by its tool, and is tried again.",
        "{file} a été rendu par son outil et sera essayé de nouveau.",
        True,
    ),
    "arrival.done": EventText("{file} was processed.", "{file} a été traité.", True),
    "arrival.quarantined": EventText(
        "{file} has failed too often: it is set aside, and not tried again.",
        "{file} a échoué trop souvent : il est mis de côté et ne sera plus essayé.",
        True,
    ),
    "arrival.taken": EventText(
        "A program took {file} without saying what became of it.",
        "Un programme a pris {file} sans dire ce qu'il en a fait.",
        True,
    ),
    "arrival.lost": EventText("{file} is not where it must be: it is lost.", "{file} n'est pas à sa place : il est perdu.", True),
    "arrival.held_anew": EventText("{file} is held for another reason now.", "{file} est retenu pour une autre raison.", True),
    "arrival.verified": EventText("{file} was found to be complete.", "{file} a été reconnu complet.", True),
    "arrival.reported": EventText("There is a report about {file}: {report}.", "Il y a un rapport sur {file} : {report}.", True),
    "arrival.file_lost": EventText("The file of {file} was lost.", "Le contenu de {file} a été perdu."),
    "arrival.archived_elsewhere": EventText("{file} was archived as {archive}.", "{file} a été archivé sous {archive}."),
    "arrival.not_in_backup": EventText("{file} is not in the backup.", "{file} n'est pas dans la sauvegarde."),
    "arrival.put_back": EventText("{file} was put back into the store.", "{file} a été remis dans le magasin."),
    "arrival.taken_back": EventText("{file} was taken back.", "{file} a été repris."),
    "arrival.release_failed": EventText("{file} could not be released: {error}.", "{file} n'a pas pu être libéré : {error}."),
    "arrival.rename_refused": EventText("{file} could not be renamed: {error}.", "{file} n'a pas pu être renommé : {error}."),
    "arrival.pruned": EventText("{file} was removed from what is kept: {limit}.", "{file} n'est plus conservé : {limit}."),
    "arrival.rebuilt": EventText("{file} was found on the disk.", "{file} a été retrouvé sur le disque."),
    "arrival.found": EventText("{file} was found again.", "{file} a été retrouvé."),
    "arrival.due": EventText("{file} is to be tried at once.", "{file} doit être essayé tout de suite."),
    "run.begun": EventText("{tool} has begun with {file}.", "{tool} a commencé avec {file}.", True),
    "run.ended": EventText("{tool} has ended with {file}: {outcome}.", "{tool} a terminé avec {file} : {outcome}.", True),
    "run.done": EventText("{tool} has processed {file}.", "{tool} a traité {file}.", True),
    "run.done_with_rejected": EventText(
        "{tool} has processed {file}, but not all of its rows.", "{tool} a traité {file}, mais pas toutes ses lignes.", True
    ),
    "run.failed": EventText("{tool} has failed with {file}.", "{tool} a échoué avec {file}.", True),
    "run.timed_out": EventText("{tool} took too long with {file}.", "{tool} a pris trop de temps avec {file}.", True),
    "run.interrupted": EventText("{tool} was interrupted at {file}.", "{tool} a été interrompu sur {file}.", True),
    "run.died": EventText("The runner of {tool} died at {file}.", "L'exécution de {tool} est morte sur {file}.", True),
    "run.released": EventText("{tool} gave {file} back unused.", "{tool} a rendu {file} sans l'utiliser.", True),
    "run.not_the_files_fault": EventText(
        "{tool} could not take {file}, for no fault of the file: it is tried again.",
        "{tool} n'a pas pu prendre {file}, sans que le fichier soit en cause : il sera essayé de nouveau.",
        True,
    ),
    "gate.started": EventText("The server has started.", "Le serveur a démarré."),
    "recovery.done": EventText(
        "The start put right what a crash had left.", "Le démarrage a réparé ce qu'une panne avait laissé."
    ),
    "login.refused": EventText("A login of {user} was refused.", "Une connexion de {user} a été refusée."),
    "address.banned": EventText("An address was banned.", "Une adresse a été bannie."),
    "ledger.rebuilt": EventText("The ledger was made anew from the disk.", "Le registre a été reconstruit à partir du disque."),
    "ledger.set_aside": EventText("A damaged ledger was set aside.", "Un registre endommagé a été mis de côté."),
    "store.restored": EventText("A backup was found and put right.", "Une sauvegarde restaurée a été remise en ordre."),
    "store.brought_back": EventText(
        "A backup was brought back: what waited in it is held.", "Une sauvegarde a été rétablie : ce qui y attendait est retenu."
    ),
    "store.adopted": EventText(
        "Store, drop and ledger got a new identity.", "Magasin, dépôt et registre ont une nouvelle identité."
    ),
    "audit.overflow": EventText("Events were too many to be kept.", "Il y a eu trop d'événements pour les garder tous."),
    "expect.upcoming": EventText(
        "{expected} is not there any more: it was taken back, and is due at {due_local}.",
        "{expected} n'est plus là : il a été retiré, et il est attendu pour {due_local}.",
    ),
    "expect.warned": EventText(
        "{expected} has not come yet: from {late_local} on it is late.",
        "{expected} n'est pas encore arrivé : il sera en retard à partir de {late_local}.",
    ),
    "expect.late": EventText(
        "{expected} is late: it was due at {due_local}, and has not come.",
        "{expected} est en retard : attendu pour {due_local}, il n'est pas arrivé.",
    ),
    "expect.missing": EventText(
        "{expected} is missing: it was due at {due_local}, and has not come.",
        "{expected} manque : attendu pour {due_local}, il n'est pas arrivé.",
    ),
    "expect.invalid": EventText(
        "{path} came for {expected}, due at {due_local}, and is held.",
        "{path} est arrivé pour {expected}, attendu pour {due_local}, et il est retenu.",
    ),
    "expect.arrived": EventText(
        "{path} has come: it was expected by {due_local}.", "{path} est arrivé : il était attendu pour {due_local}."
    ),
    "expect.not_taken": EventText(
        "{path} has come, and no tool has taken it: it was expected by {due_local}.",
        "{path} est arrivé, et aucun outil ne l'a pris : il était attendu pour {due_local}.",
    ),
    "expect.unchanged": EventText(
        "{path} has come with the very content of the file before it: was it exported anew?",
        "{path} est arrivé avec exactement le contenu du fichier précédent : a-t-il été exporté à nouveau ?",
    ),
    "expect.recovered": EventText(
        "All is well again with {expected}: {path} is there.", "Tout est rentré dans l'ordre pour {expected} : {path} est là."
    ),
    "notify.turned_off": EventText(
        "Nothing is sent to {receiver} any more: {said}.", "Plus rien n'est envoyé à {receiver} : {said}."
    ),
    "notify.given_up": EventText(
        "{count} messages to {receiver} were given up.", "{count} messages à {receiver} ont été abandonnés."
    ),
    "notify.resumed": EventText("{receiver} is told again.", "{receiver} est de nouveau averti."),
    "notify.resent": EventText("{messages} messages are sent once more.", "{messages} messages sont envoyés une fois de plus."),
    "notify.missed": EventText(
        "{count} events were removed before anybody could be told of them.",
        "{count} événements ont été supprimés avant que quiconque n'en soit averti.",
    ),
    "notify.test": EventText(
        "This is a test: messages of this gate reach you.",
        "Ceci est un essai : les messages de ce serveur vous parviennent.",
        True,
    ),
}

# Families of events whose members are many; told by their names.
FAMILIES = ("cli.",)

LABELS: Mapping[str, EventText] = {
    "file": EventText("file", "fichier"),
    "sender": EventText("sender", "expéditeur"),
    "tool": EventText("tool", "outil"),
    "size": EventText("size", "taille"),
    "arrival": EventText("arrival", "arrivée"),
    "time": EventText("time", "heure"),
    "reason": EventText("reason", "raison"),
    "why": EventText("why", "pourquoi"),
    "next": EventText("what next", "que faire"),
    "bytes": EventText("{count} bytes", "{count} octets"),
    "more": EventText("… and {count} more", "… et {count} de plus"),
    "several": EventText("{count} events", "{count} événements"),
    "by": EventText("by", "par"),
    "rejected": EventText("rejected rows", "lignes rejetées"),
    "report": EventText("report", "rapport"),
    "footer": EventText(
        "{gate} told you this as its settings say. Answers to this address are not read.",
        "{gate} vous l'annonce selon ses réglages. Les réponses à cette adresse ne sont pas lues.",
    ),
}


def known_kinds() -> tuple[str, ...]:
    """Return the kinds that rules may name; a family stands for its members."""
    return (*TEXTS, *FAMILIES)


def may_be_told_to_senders(kind: str) -> bool:
    """Return whether the sender of a file may be told of such an event about it."""
    return kind.startswith("expect.") or (kind in TEXTS and TEXTS[kind].for_senders)


def label(name: str, language: Language, **values: object) -> str:
    """Return a label in a language."""
    return LABELS[name].in_language(language).format(**values)


def told(kind: str, language: Language, values: Mapping[str, object]) -> str:
    """Return the sentence of a kind with its values. What has no text of its own is told by its name."""
    text = TEXTS.get(kind)
    if text is None:
        subject = values.get("file") or values.get("name") or values.get("user") or ""
        return f"{kind}: {subject}" if subject else kind
    return _Lenient().vformat(text.in_language(language), (), values)


class _Lenient(string.Formatter):
    """Puts nothing where there is no value, and reads no more in a text than names."""

    def get_value(self, key: int | str, args: object, kwargs: Mapping[str, object]) -> object:
        """Return the value of a name; empty if there is none."""
        value = kwargs.get(str(key), "")
        return "" if value is None else value
