"""What reports say, in each language that their readers may have: of runs, of files that are held, of files that were removed.

Pure. A key is the English text itself, so that a report reads the same in the code as on paper. All that senders read goes
through ``phrase`` or ``sentence``: tests find a text that a language does not have, and one that goes past this table. The names
at the beginning of a line (``outcome:``) are translated too: people read them, and programs read the ledger (``sftpgate show
--json``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sftpgate.policy.runs import RunOutcome

if TYPE_CHECKING:
    from sftpgate.settings.choices import Language  # the shortest pass of ``run`` comes by here, and does without the settings


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of ours, made where nobody knows yet who reads it. As ``str`` it is English: for the ledger and the log."""

    text: str
    values: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return self.text.format(**dict(self.values)) if self.values else self.text

    def in_language(self, language: Language) -> str:
        """Return the sentence in a language, with the sentences inside it."""
        return phrase(self.text, language, **dict(self.values))


def sentence(text: str, **values: object) -> Sentence:
    """Return a sentence of the table, with what is to be put in."""
    return Sentence(text, tuple(values.items()))


_WORDS_TO_KNOW = 4  # a shorter sentence with values is what many a text looks like

Words = str | Sentence  # somebody else's words, which stay as they are, or ours


def in_language(words: Words, language: Language) -> str:
    """Return words as a reader of this language gets them."""
    return words.in_language(language) if isinstance(words, Sentence) else words


def phrase(text: str, language: Language, **values: object) -> str:
    """Return ``text`` in a language, with its values put in."""
    found = _LANGUAGES[language].get(text, text)
    if not values:
        return found
    return found.format(**{name: in_language(v, language) if isinstance(v, Sentence) else v for name, v in values.items()})


def recognised(text: str) -> Words:
    """Return the sentence of the table that ``text`` is in English, with what was put in; ``text`` itself if it is none.

    What the ledger has of a sentence is its English form, and its reader may want another one.
    """
    if text in _FRENCH:
        return Sentence(text)
    for key in sorted(_FRENCH, key=len, reverse=True):
        if "{" in key and len(key.split()) > _WORDS_TO_KNOW and (found := _as_pattern(key).fullmatch(text)):
            return Sentence(key, tuple(found.groupdict().items()))
    return text


def _as_pattern(key: str) -> re.Pattern[str]:
    """Return what finds the values in the English form of a sentence."""
    parts = re.split(r"\{([a-z]+)\}", key)  # texts, with names between them
    named: list[str] = []
    for number, part in enumerate(parts):
        is_again = part in parts[1:number:2]
        named.append(re.escape(part) if number % 2 == 0 else f"(?P={part})" if is_again else f"(?P<{part}>.*)")
    return re.compile("".join(named), re.DOTALL)


def outcome_phrase(outcome: RunOutcome, rejected: int | None, language: Language) -> str:
    """Return an outcome for people: ``done with 3 rejected``."""
    match outcome:
        case RunOutcome.DONE:
            return phrase("done", language)
        case RunOutcome.DONE_WITH_REJECTED if rejected:
            return phrase("done with {rejected} rejected", language, rejected=rejected)
        case RunOutcome.DONE_WITH_REJECTED:
            return phrase("done with rejected rows", language)
        case RunOutcome.FAILED:
            return phrase("failed", language)
        case RunOutcome.NOT_THE_FILE:
            return phrase("not the file's fault", language)
        case RunOutcome.TIMED_OUT:
            return phrase("timed out", language)
        case RunOutcome.INTERRUPTED:
            return phrase("interrupted", language)
        case RunOutcome.DIED:
            return phrase("died", language)
        case RunOutcome.RELEASED:
            return phrase("released", language)


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
    "the pattern {pattern} took too long on the output: nobody knows what was done": (
        "le motif {pattern} a pris trop de temps sur la sortie : personne ne sait ce qui a été fait"
    ),
    "what the command wrote to SFTPGATE_RESULT cannot be used: {why}": (
        "ce que la commande a écrit dans SFTPGATE_RESULT est inutilisable : {why}"
    ),
    "it is not valid JSON in UTF-8": "ce n'est pas du JSON valide en UTF-8",
    "it is no JSON object": "ce n'est pas un objet JSON",
    "message is no text": "message n'est pas un texte",
    "outcome is none of done, failed, try later": "outcome n'est ni done, ni failed, ni try later",
    "{key} is no number of rows": "{key} n'est pas un nombre de lignes",
    'an entry of rejected is no object such as {"line": 4, "reason": "…"}': (
        'un élément de rejected n\'est pas un objet tel que {"line": 4, "reason": "…"}'
    ),
    "the reason of a rejected row is no text": "la cause d'une ligne rejetée n'est pas un texte",
    "it is no regular file, or cannot be read": "ce n'est pas un fichier ordinaire, ou il est illisible",
    "it is longer than {bytes} bytes": "il dépasse {bytes} octets",
    "the command says that it accepted {accepted} and rejected {rejected} of only {rows} rows": (
        "la commande dit avoir accepté {accepted} et rejeté {rejected} lignes, sur {rows} seulement"
    ),
    "the command {program} was not found": "la commande {program} est introuvable",
    "the command {program} cannot be executed: {error}": "la commande {program} ne peut pas être exécutée : {error}",
    "not everything ended within {seconds} s of SIGTERM: it was killed": (
        "tout ne s'est pas terminé dans les {seconds} s après SIGTERM : le reste a été tué"
    ),
    "the output has none of the words of a run that did its work": (
        "la sortie n'a aucun des mots d'une exécution qui a fait son travail"
    ),
    "this server's disk is full: the end of the output is lost, and nobody knows what was done": (
        "le disque de ce serveur est plein : la fin de la sortie est perdue, et personne ne sait ce qui a été fait"
    ),
    "this server's disk is full: what the command wrote is lost": (
        "le disque de ce serveur est plein : ce que la commande a écrit est perdu"
    ),
    "what the command wrote to SFTPGATE_TRYBACK cannot be used: {why}": (
        "ce que la commande a écrit dans SFTPGATE_TRYBACK est inutilisable : {why}"
    ),
    "not all of the output could be written ({error}): {dropped} bytes of it are lost": (
        "toute la sortie n'a pas pu être écrite ({error}) : {dropped} octets en sont perdus"
    ),
    "the output was longer than {limit} bytes: {dropped} bytes in its middle were dropped": (
        "la sortie dépassait {limit} octets : {dropped} octets en son milieu ont été écartés"
    ),
    "the output was longer than {limit} bytes: {dropped} bytes more were dropped": (
        "la sortie dépassait {limit} octets : {dropped} octets de plus ont été écartés"
    ),
    "the file of rejected rows was longer than {limit} bytes: {dropped} bytes more were dropped": (
        "le fichier des lignes rejetées dépassait {limit} octets : {dropped} octets de plus ont été écartés"
    ),
    "the process that watched the command was killed, and the command with it": (
        "le processus qui surveillait la commande a été tué, et la commande avec lui"
    ),
    "the file was changed on this machine since it was received; it has {size} bytes now": (
        "le fichier a été modifié sur cette machine depuis sa réception ; il a maintenant {size} octets"
    ),
    "the lease of the claim ended": "le délai de traitement du fichier est écoulé",
    "the lease of the script (pid {pid} on {host}) ended": "le délai de traitement du script (pid {pid} sur {host}) est écoulé",
    "the runner (pid {pid} on {host}) is gone": "le programme qui traitait le fichier (pid {pid} sur {host}) n'est plus là",
    # files that are held, or were removed
    "held": "retenu",
    "removed": "supprimé",
    "held since": "retenu depuis",
    "reason": "motif",
    "why": "pourquoi",
    "incomplete?": "incomplet ?",
    "checksum mismatch": "somme de contrôle différente",
    "batch-lock": "verrou de lot",
    "awaiting done-file": "en attente du fichier de fin",
    "name that is skipped": "nom ignoré",
    "restored": "rétabli",
    "The server was brought back from a backup in which the file was waiting: it may have been processed since.": (
        "Le serveur a été rétabli à partir d'une sauvegarde où le fichier attendait : il a pu être traité depuis."
    ),
    "You need not do anything: the administrators decide whether it is processed.": (
        "Vous n'avez rien à faire : les administrateurs décident s'il est traité."
    ),
    "being checked": "en cours de contrôle",
    "not as agreed": "non conforme",
    "awaiting approval": "en attente d'approbation",
    "The file was made by the administrators to undo what an earlier one did.": (
        "Le fichier a été fait par les administrateurs pour annuler ce qu'un précédent a fait."
    ),
    "You need not do anything: they decide whether it is processed.": (
        "Vous n'avez rien à faire : ils décident s'il est traité."
    ),
    "what is wrong": "ce qui ne va pas",
    "accepted, with warnings": "accepté, avec des avertissements",
    "difference": "différence",
    "The file would be converted from {encoding}; its original would be kept in /archives.": (
        "Le fichier serait converti depuis {encoding} ; l'original serait gardé dans /archives."
    ),
    "({more} more: see the report.)": "(encore {more} : voir le rapport.)",
    "The file was received, and is held.": "Le fichier a été reçu, et il est retenu.",
    "rehearsal: no tool takes a file of this name": "essai : aucun outil ne prend un fichier de ce nom",
    "rehearsal: the file would go on unchecked, its tool has no contract": (
        "essai : le fichier serait transmis sans contrôle, son outil n'a pas de contrat"
    ),
    "rehearsal: the file would be held": "essai : le fichier serait retenu",
    "rehearsal: the file would go on, with warnings": "essai : le fichier serait transmis, avec des avertissements",
    "rehearsal: nothing is wrong with the file": "essai : rien à redire sur le fichier",
    "of {of} rows of the last processed file {removed} are gone and {changed} changed; {added} are new": (
        "sur {of} lignes du dernier fichier traité, {removed} ont disparu et {changed} ont changé ; {added} sont nouvelles"
    ),
    "It was a rehearsal: nothing is done with the file, and it is removed by itself. In earnest, send it to {path}.": (
        "C'était un essai : rien n'est fait du fichier, et il est supprimé de lui-même. Pour de bon, envoyez-le vers {path}."
    ),
    "The file goes on: at this time, what is wrong with it is only reported.": (
        "Le fichier est transmis : pour le moment, ce qui ne va pas est seulement signalé."
    ),
    "The file is being checked against what its tool expects, and that takes longer than usual.": (
        "Le fichier est en cours de contrôle d'après ce que son outil attend, et cela dure plus longtemps que d'habitude."
    ),
    "You need not do anything: it goes on by itself, or a report says what is wrong with it.": (
        "Vous n'avez rien à faire : il continue de lui-même, ou un rapport dira ce qui ne va pas."
    ),
    "The file is not what its tool expects.": "Le fichier n'est pas ce que son outil attend.",
    "Send a corrected file under the same name, or ask the administrators to approve this one if it is right.": (
        "Envoyez un fichier corrigé sous le même nom, ou demandez aux administrateurs d'approuver celui-ci s'il est juste."
    ),
    "rejected by the administrators": "rejeté par les administrateurs",
    "The administrators of this server rejected the file: it is not processed. They say: {reason}": (
        "Les administrateurs de ce serveur ont rejeté le fichier : il n'est pas traité. Ils disent : {reason}"
    ),
    "Send a corrected file under the same name. This one is kept in the archives.": (
        "Envoyez un fichier corrigé sous le même nom. Celui-ci est conservé dans les archives."
    ),
    "The administrators of this server removed the file: it is not processed.": (
        "Les administrateurs de ce serveur ont supprimé le fichier : il n'est pas traité."
    ),
    "Ask them why, and send the file again if it is wanted.": "Demandez-leur pourquoi, et renvoyez le fichier s'il est attendu.",
    "The upload looks interrupted: {doubt}.": "Le dépôt semble interrompu : {doubt}.",
    "nothing says that it is complete": "rien ne dit qu'il est complet",
    "Send the file again: a complete upload takes its place, and the same content a second time counts as complete. "
    "Or send {name}.sha256 with its SHA-256, or ask the administrators to release it.": (
        "Renvoyez le fichier : un dépôt complet prend sa place, et le même contenu une seconde fois est tenu pour complet. "
        "Ou envoyez {name}.sha256 avec son SHA-256, ou demandez aux administrateurs de le libérer."
    ),
    "beside it": "à côté",
    "The checksum file {name} speaks of another content than the one that arrived (its SHA-256 is above).": (
        "Le fichier de somme de contrôle {name} parle d'un autre contenu que celui qui est arrivé (son SHA-256 est ci-dessus)."
    ),
    "Send the file again, or send the right checksum file, or remove the wrong one.": (
        "Renvoyez le fichier, ou envoyez le bon fichier de somme de contrôle, ou supprimez le mauvais."
    ),
    "A lock {lock} that the administrators of this server put there lies in the drop: nothing is taken while it is there.": (
        "Un verrou {lock} placé par les administrateurs de ce serveur est dans le dépôt : rien n'est pris tant qu'il y est."
    ),
    "Wait until they remove it, or ask them: your file need not be sent again.": (
        "Attendez qu'ils le retirent, ou demandez-leur : votre fichier n'est pas à renvoyer."
    ),
    "Your {lock} lies in the drop: none of your files is taken while it is there.": (
        "Votre {lock} est dans le dépôt : aucun de vos fichiers n'est pris tant qu'il y est."
    ),
    "Remove {lock} when the set of files is complete.": "Supprimez {lock} quand le lot de fichiers est complet.",
    "Neither {name}.done nor {name}.ok lies beside it: a file waits for one of them.": (
        "Ni {name}.done ni {name}.ok n'est à côté : un fichier attend l'un des deux."
    ),
    "Upload an empty file {name}.done when the file is complete.": (
        "Déposez un fichier vide {name}.done quand le fichier est complet."
    ),
    'The name {name} contains "lock": the batch tool takes such a name for a lock file, and skips it for ever.': (
        "Le nom {name} contient « lock » : l'outil de traitement prend un tel nom pour un verrou, et l'ignore toujours."
    ),
    "Rename the file, or send it under another name.": "Renommez le fichier, ou envoyez-le sous un autre nom.",
    # receipts
    "You need not do anything.": "Vous n'avez rien à faire.",
    "The server could not store the file, and told your client so.": (
        "Le serveur n'a pas pu enregistrer le fichier, et l'a dit à votre client."
    ),
    "Send the file again.": "Renvoyez le fichier.",
    "It is tried again.": "Un nouvel essai aura lieu.",
    "The platform was not able to take the file, and takes it later.": (
        "La plateforme n'a pas pu prendre le fichier, et le prendra plus tard."
    ),
    "The file is held no more, and waits for its tool.": "Le fichier n'est plus retenu, et attend son outil.",
    "The file has arrived whole, is stored durably, and waits for its tool.": (
        "Le fichier est arrivé entier, il est enregistré durablement et attend son outil."
    ),
    "The file has arrived whole, is stored durably, and is being checked against what its tool expects.": (
        "Le fichier est arrivé entier, il est enregistré durablement, et il est comparé à ce que son outil attend."
    ),
    "The tool has taken the file, but not all of its rows.": "L'outil a pris le fichier, mais pas toutes ses lignes.",
    "Correct the rejected rows, and send them again.": "Corrigez les lignes rejetées et renvoyez-les.",
    "The tool has taken the file.": "L'outil a pris le fichier.",
    "The file is set aside and is not tried again.": "Le fichier est mis de côté, et il n'y aura pas d'autre essai.",
    "Correct it and send it again, or ask the administrators.": "Corrigez-le et renvoyez-le, ou demandez aux administrateurs.",
    "The administrators of this server refused the file: {because}.": (
        "Les administrateurs de ce serveur ont refusé le fichier : {because}."
    ),
    "Correct it and send it again, or ask them.": "Corrigez-le et renvoyez-le, ou demandez-leur.",
    "The tool could not process the file: {because}.": "L'outil n'a pas pu traiter le fichier : {because}.",
    "The tool took too long for the file, and was stopped.": ("L'outil a mis trop de temps pour le fichier, et il a été arrêté."),
    "The tool could not process the file.": "L'outil n'a pas pu traiter le fichier.",
    "You gave the file a name that is never taken.": "Vous avez donné au fichier un nom qui n'est jamais pris.",
    "Give it its right name, and it is taken again.": "Donnez-lui son vrai nom, et il sera pris de nouveau.",
    "The file was set aside for longer than such files are kept, and is gone.": (
        "Le fichier a été mis de côté plus longtemps que de tels fichiers ne sont conservés : il n'existe plus."
    ),
    "Send the file again if it is still wanted.": "Renvoyez le fichier s'il est encore attendu.",
    "A later file of its name took the place of the file before a tool had taken it.": (
        "Un fichier plus récent du même nom a pris la place du fichier avant qu'un outil l'ait pris."
    ),
    "You removed the file before a tool had taken it.": "Vous avez supprimé le fichier avant qu'un outil l'ait pris.",
    "A program of the platform took the file. What it did with it is not known here.": (
        "Un programme de la plateforme a pris le fichier. Ce qu'il en a fait n'est pas connu ici."
    ),
    "The file is not on the server any more, and no tool has taken it.": (
        "Le fichier n'est plus sur le serveur, et aucun outil ne l'a pris."
    ),
    # what speaks for or against the completeness of an upload
    "it was cut back, and not written anew": "il a été raccourci, et non récrit",
    "it has the size that its client declared": "il a la taille que son client a déclarée",
    "its client declared {declared} bytes, and {size} came": "son client a déclaré {declared} octets, et {size} sont arrivés",
    "its client stated its size at the end": "son client a donné sa taille à la fin",
    "it is {format}, and its end is missing or breaks off": "c'est du {format}, et la fin manque ou est coupée",
    "it is {format} with its end": "c'est du {format}, avec sa fin",
    "{client} closes a file only when it is complete": "{client} ne ferme un fichier que s'il est complet",
    "it was opened to be continued, and nothing was written": "il a été ouvert pour être continué, et rien n'a été écrit",
    "it is empty": "il est vide",
    "it is a text of a round size, and ends with a line where its full writes do not": (
        "c'est un texte d'une taille ronde, et il finit avec une ligne, au contraire de ses écritures pleines"
    ),
    "it ends with a full write: its client may have been interrupted there": (
        "il finit par une écriture pleine : son client a pu être interrompu là"
    ),
    "all its writes have one length: its client may have been interrupted behind one": (
        "toutes ses écritures ont la même longueur : son client a pu être interrompu après l'une d'elles"
    ),
    "it has the size that the earlier files of its path have": "il a la taille qu'avaient les fichiers précédents de ce chemin",
    "it ends with a short write, as a complete file does": "il finit par une écriture courte, comme un fichier complet",
    "its last line is shorter than every line before": "sa dernière ligne est plus courte que toutes les autres",
    "it ends inside a line, and its last write may be a full one": (
        "il finit au milieu d'une ligne, et sa dernière écriture est peut-être pleine"
    ),
    "nothing speaks against it": "rien ne s'y oppose",
    "the same content was sent before": "le même contenu a déjà été envoyé",
}

_LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": {}, "fr": _FRENCH}  # by what a Language is
