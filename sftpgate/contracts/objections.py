"""What can be wrong with a file, by stable codes, with the sentences that people read.

Pure. A code never changes its meaning: scripts and the ledger have it. The sentences are in English and French; each says what is
wrong, and what to do about it. Bytes of the file are shown with what cannot be seen made visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sftpgate.settings.choices import Language

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One thing that is wrong. ``line`` counts from 1 and is the first of ``count`` places; None if the whole file is meant."""

    code: str
    line: int | None = None
    count: int = 1
    details: Mapping[str, str | int] = field(default_factory=dict)

    def sentence(self, language: Language = Language.ENGLISH) -> str:
        """Return what is wrong, as one sentence, with the line if there is one."""
        text = TEXTS[self.code][language][0].format(**self.details)
        where = ""
        if self.line is not None:
            french = language is Language.FRENCH
            where = f"ligne {self.line} : " if french else f"line {self.line}: "
            if self.count > 1:
                where += f"(et {self.count - 1} de plus) " if french else f"(and {self.count - 1} more) "
        return where + text

    def advice(self, language: Language = Language.ENGLISH) -> str:
        """Return what the sender can do, as one sentence."""
        return TEXTS[self.code][language][1].format(**self.details)


def visible(text: str | bytes) -> str:
    """Return a piece of a file for a sentence: what cannot be seen is escaped, what is long is cut."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    shown = "".join(_character(character) for character in text[:_SHOWN_CHARACTERS])
    return f"{shown}…" if len(text) > _SHOWN_CHARACTERS else shown


def _character(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character == "\t":
        return "\\t"
    if character.isprintable() and (character == " " or not character.isspace()):
        return character
    return f"\\u{ord(character):04x}" if ord(character) > 0xFF else f"\\x{ord(character):02x}"


_Texts = Mapping[Language, tuple[str, str]]


def _texts(english: str, english_advice: str, french: str, french_advice: str) -> _Texts:
    return {Language.ENGLISH: (english, english_advice), Language.FRENCH: (french, french_advice)}


_EXPORT_TEXT = "Export it as a text file (CSV), not as a workbook or a page."
_EXPORT_TEXT_FR = "Exportez-le en fichier texte (CSV), pas en classeur ni en page."
_ENCODE = "Export it as {expected}."
_ENCODE_FR = "Exportez-le en {expected}."
_LOOK_SOURCE = "Check that the export ran to its end; if the change is meant, tell the administrators."
_LOOK_SOURCE_FR = "Vérifiez que l'export est allé jusqu'au bout ; si le changement est voulu, prévenez les administrateurs."

# In the order in which they are said: what a file is, how it is written, its table, its keys, its amounts, its history.
TEXTS: Final[Mapping[str, _Texts]] = {
    "kind.html": _texts(
        "The file is a web page, perhaps an error page of the program that exports: {start}",
        _EXPORT_TEXT,
        "Le fichier est une page web, peut-être une page d'erreur du programme qui exporte : {start}",
        _EXPORT_TEXT_FR,
    ),
    "kind.data": _texts(
        "The file is {format}, not a table of text.",
        _EXPORT_TEXT,
        "Le fichier est au format {format}, ce n'est pas un tableau en texte.",
        _EXPORT_TEXT_FR,
    ),
    "kind.packed": _texts(
        "The file is packed ({format}); the tool expects it as it is.",
        "Send it unpacked.",
        "Le fichier est compressé ({format}) ; l'outil l'attend tel quel.",
        "Envoyez-le sans compression.",
    ),
    "kind.not_packed": _texts(
        "The file is not packed as {format}.",
        "Pack it as {format}, and send it again.",
        "Le fichier n'est pas compressé en {format}.",
        "Compressez-le en {format} et renvoyez-le.",
    ),
    "kind.damaged": _texts(
        "The file cannot be unpacked: {reason}",
        "Pack it anew, and send it again.",
        "Le fichier ne peut pas être décompressé : {reason}",
        "Compressez-le de nouveau et renvoyez-le.",
    ),
    "kind.too_large": _texts(
        "Unpacked, the file is larger than {limit} bytes.",
        "Split it, or ask the administrators.",
        "Décompressé, le fichier dépasse {limit} octets.",
        "Divisez-le, ou demandez aux administrateurs.",
    ),
    "check.failed": _texts(
        "The check itself failed: {reason}.",
        "Ask the administrators: nobody knows whether the file is good.",
        "Le contrôle lui-même a échoué : {reason}.",
        "Demandez aux administrateurs : personne ne sait si le fichier est bon.",
    ),
    "text.utf16": _texts(
        "The file is UTF-16; the tool expects {expected}.",
        _ENCODE,
        "Le fichier est en UTF-16 ; l'outil attend {expected}.",
        _ENCODE_FR,
    ),
    "text.nul": _texts(
        "There is a NUL byte: this is no text, or a piece of the file was lost.",
        "Export it anew, and send it again.",
        "Il y a un octet nul : ce n'est pas du texte, ou une partie du fichier a été perdue.",
        "Exportez-le de nouveau et renvoyez-le.",
    ),
    "text.bom": _texts(
        "The file begins with a byte order mark, which the tool would take for a part of the first column.",
        "Export it without one (“UTF-8”, not “UTF-8 with BOM”).",
        "Le fichier commence par une marque d'ordre des octets (BOM), que l'outil prendrait pour une partie du nom de colonne.",
        "Exportez-le sans BOM (« UTF-8 », pas « UTF-8 avec BOM »).",
    ),
    "text.encoding": _texts(
        "The text is {found}, not {expected}: {excerpt}",
        _ENCODE,
        "Le texte est en {found}, pas en {expected} : {excerpt}",
        _ENCODE_FR,
    ),
    "text.mangled": _texts(
        "Letters were mangled on the way, by a program that read one encoding as another: {excerpt}",
        "Correct the export: names would be stored as they are here.",
        "Des lettres ont été déformées en route, par un programme qui a lu un encodage pour un autre : {excerpt}",
        "Corrigez l'export : les noms seraient enregistrés tels quels.",
    ),
    "text.line_ends": _texts(
        "Line ends are mixed: {crlf} lines end as on Windows (CR LF), {lf} as on Unix (LF).",
        "Export it with one kind of line end.",
        "Les fins de ligne sont mélangées : {crlf} lignes finissent comme sous Windows (CR LF), {lf} comme sous Unix (LF).",
        "Exportez-le avec une seule sorte de fin de ligne.",
    ),
    "text.lone_cr": _texts(
        "Lines end in a carriage return alone: the tool sees one long line.",
        "Export it with line ends LF or CR LF.",
        "Des lignes finissent par un retour chariot seul : l'outil verrait une seule longue ligne.",
        "Exportez-le avec des fins de ligne LF ou CR LF.",
    ),
    "text.final_newline": _texts(
        "The last line has no end: perhaps it is cut. It says: {excerpt}",
        "Check that the export ran to its end.",
        "La dernière ligne n'a pas de fin : elle est peut-être coupée. Elle dit : {excerpt}",
        "Vérifiez que l'export est allé jusqu'au bout.",
    ),
    "text.line_length": _texts(
        "The line has more than {limit} bytes.",
        "Shorten its fields, or look for a quote that is not closed.",
        "La ligne dépasse {limit} octets.",
        "Raccourcissez ses champs, ou cherchez un guillemet non fermé.",
    ),
    "text.invisible": _texts(
        "The header has characters that cannot be seen: {excerpt}",
        "Type the names of the columns anew.",
        "L'en-tête contient des caractères invisibles : {excerpt}",
        "Saisissez de nouveau les noms des colonnes.",
    ),
    "table.delimiter": _texts(
        "The fields are separated by {found}, not by {expected}.",
        "Export it with {expected} between the fields.",
        "Les champs sont séparés par {found}, pas par {expected}.",
        "Exportez-le avec {expected} entre les champs.",
    ),
    "table.header_missing": _texts(
        "There is no header: the first row is data: {excerpt}",
        "Export it with the names of the columns in its first row: {expected}",
        "Il n'y a pas d'en-tête : la première ligne contient des données : {excerpt}",
        "Exportez-le avec les noms des colonnes en première ligne : {expected}",
    ),
    "table.column_missing": _texts(
        "The column {column} is missing; the header is: {excerpt}",
        "Export it with the column {column}, called exactly so.",
        "La colonne {column} manque ; l'en-tête est : {excerpt}",
        "Exportez-le avec la colonne {column}, nommée exactement ainsi.",
    ),
    "table.column_unknown": _texts(
        "The column {column} is not expected; the header is: {excerpt}",
        "Export it without this column.",
        "La colonne {column} n'est pas attendue ; l'en-tête est : {excerpt}",
        "Exportez-le sans cette colonne.",
    ),
    "table.column_doubled": _texts(
        "The header names the column {column} twice.",
        "Export it with each column once.",
        "L'en-tête nomme deux fois la colonne {column}.",
        "Exportez-le avec chaque colonne une seule fois.",
    ),
    "table.column_order": _texts(
        "The columns are in another order: {excerpt}",
        "Export them in this order: {expected}",
        "Les colonnes sont dans un autre ordre : {excerpt}",
        "Exportez-les dans cet ordre : {expected}",
    ),
    "table.quote_open": _texts(
        "A quote is opened here and never closed: all that follows would be one field.",
        "Close it, or write it twice inside a field.",
        "Un guillemet est ouvert ici et jamais fermé : toute la suite serait un seul champ.",
        "Fermez-le, ou doublez-le à l'intérieur d'un champ.",
    ),
    "table.quote_stray": _texts(
        "A quote stands inside a field: {excerpt}",
        "Put the field in quotes, and write a quote in it twice.",
        "Un guillemet se trouve à l'intérieur d'un champ : {excerpt}",
        "Mettez le champ entre guillemets, et doublez le guillemet qu'il contient.",
    ),
    "table.quotes": _texts(
        "A field is in quotes, which the tool does not understand: {excerpt}",
        "Export it without quotes.",
        "Un champ est entre guillemets, que l'outil ne comprend pas : {excerpt}",
        "Exportez-le sans guillemets.",
    ),
    "table.cell_newline": _texts(
        "A field goes over {lines} lines: perhaps a quote was not closed, and swallows rows: {excerpt}",
        "Remove the line ends from the field, or close the quote.",
        "Un champ s'étend sur {lines} lignes : un guillemet n'a peut-être pas été fermé et avale des lignes : {excerpt}",
        "Retirez les fins de ligne du champ, ou fermez le guillemet.",
    ),
    "table.fields": _texts(
        "The row has {found} fields, the header {expected}: {excerpt}",
        "Give each row as many fields as the header has.",
        "La ligne a {found} champs, l'en-tête {expected} : {excerpt}",
        "Donnez à chaque ligne autant de champs que l'en-tête.",
    ),
    "table.empty_row": _texts(
        "The row has delimiters and nothing between them, as a spreadsheet writes rows that were emptied.",
        "Remove the rows in the spreadsheet, do not only empty them.",
        "La ligne n'a que des séparateurs, comme un tableur écrit des lignes vidées.",
        "Supprimez les lignes dans le tableur, ne les videz pas seulement.",
    ),
    "table.number": _texts(
        "The column {column} has {excerpt}, which is no number with a decimal point.",
        "Export numbers with a point: 12.5",
        "La colonne {column} contient {excerpt}, qui n'est pas un nombre avec un point décimal.",
        "Exportez les nombres avec un point : 12.5",
    ),
    "table.start": _texts(
        "The row begins with {start}, which tools take for a comment, a command or a formula: {excerpt}",
        "Remove the row, or have its first field begin otherwise.",
        "La ligne commence par {start}, que les outils prennent pour un commentaire, une commande ou une formule : {excerpt}",
        "Retirez la ligne, ou faites commencer son premier champ autrement.",
    ),
    "table.blank": _texts(
        "The line is blank, and rows follow.",
        "Remove the blank line: some tools stop there.",
        "La ligne est vide, et d'autres suivent.",
        "Retirez la ligne vide : certains outils s'arrêtent là.",
    ),
    "keys.empty": _texts(
        "The field {column} is empty: nobody knows what the row is about: {excerpt}",
        "Fill it, or remove the row.",
        "Le champ {column} est vide : on ne sait pas ce que la ligne concerne : {excerpt}",
        "Remplissez-le, ou retirez la ligne.",
    ),
    "keys.doubled": _texts(
        "The row is about the same as line {first}: {excerpt}",
        "Leave one of them.",
        "La ligne concerne la même chose que la ligne {first} : {excerpt}",
        "N'en laissez qu'une.",
    ),
    "keys.length": _texts(
        "The field {column} has more than {limit} characters: {excerpt}",
        "Shorten it.",
        "Le champ {column} dépasse {limit} caractères : {excerpt}",
        "Raccourcissez-le.",
    ),
    "keys.zeros_lost": _texts(
        "The field {column} says {found}; in the last file it was {expected}: zeros were lost, as a spreadsheet does.",
        "Have the column treated as text when the file is made.",
        "Le champ {column} contient {found} ; dans le dernier fichier c'était {expected} : des zéros ont été perdus, "
        "comme le fait un tableur.",
        "Faites traiter la colonne comme du texte à la création du fichier.",
    ),
    "keys.shape": _texts(
        "The field {column} says {found}, of a shape that it never had ({expected}).",
        "Check that the right column is exported.",
        "Le champ {column} contient {found}, d'une forme jamais vue ({expected}).",
        "Vérifiez que la bonne colonne est exportée.",
    ),
    "amounts.empty": _texts(
        "The file is empty.",
        "Check that the export ran to its end.",
        "Le fichier est vide.",
        "Vérifiez que l'export est allé jusqu'au bout.",
    ),
    "amounts.header_only": _texts(
        "The file has a header and no rows.",
        "Check that the export ran to its end.",
        "Le fichier a un en-tête et aucune ligne.",
        "Vérifiez que l'export est allé jusqu'au bout.",
    ),
    "amounts.too_few": _texts(
        "The file has {found} rows, fewer than {limit}.",
        _LOOK_SOURCE,
        "Le fichier a {found} lignes, moins de {limit}.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.too_many": _texts(
        "The file has {found} rows, more than {limit}.",
        _LOOK_SOURCE,
        "Le fichier a {found} lignes, plus de {limit}.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.sheet_limit": _texts(
        "The file has exactly {found} lines, the most that a spreadsheet holds: what is beyond is cut.",
        "Export it without a spreadsheet.",
        "Le fichier a exactement {found} lignes, le maximum d'un tableur : la suite est coupée.",
        "Exportez-le sans tableur.",
    ),
    "amounts.trailer_missing": _texts(
        "The last line is not the one that says how many rows there are: {excerpt}",
        "Check that the export ran to its end.",
        "La dernière ligne n'est pas celle qui donne le nombre de lignes : {excerpt}",
        "Vérifiez que l'export est allé jusqu'au bout.",
    ),
    "amounts.trailer": _texts(
        "The last line speaks of {expected} rows; there are {found}.",
        "Check that the export ran to its end.",
        "La dernière ligne annonce {expected} lignes ; il y en a {found}.",
        "Vérifiez que l'export est allé jusqu'au bout.",
    ),
    "amounts.removed": _texts(
        "{found} of {of} rows of the last processed file are gone; {limit} may be.",
        _LOOK_SOURCE,
        "{found} lignes sur {of} du dernier fichier traité ont disparu ; {limit} sont permises.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.added": _texts(
        "{found} rows are new, against {of} in the last processed file; {limit} may be.",
        _LOOK_SOURCE,
        "{found} lignes sont nouvelles, contre {of} dans le dernier fichier traité ; {limit} sont permises.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.changed": _texts(
        "{found} of {of} rows of the last processed file say something else; {limit} may.",
        _LOOK_SOURCE,
        "{found} lignes sur {of} du dernier fichier traité ont changé ; {limit} le peuvent.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.group_gone": _texts(
        "All {of} rows of {group} are gone.",
        _LOOK_SOURCE,
        "Les {of} lignes de {group} ont toutes disparu.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.group_removed": _texts(
        "{found} of {of} rows of {group} are gone; {limit} may be.",
        _LOOK_SOURCE,
        "{found} lignes sur {of} de {group} ont disparu ; {limit} sont permises.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.group_added": _texts(
        "{found} rows of {group} are new, against {of} in the last processed file; {limit} may be.",
        _LOOK_SOURCE,
        "{found} lignes de {group} sont nouvelles, contre {of} dans le dernier fichier traité ; {limit} sont permises.",
        _LOOK_SOURCE_FR,
    ),
    "amounts.group_changed": _texts(
        "{found} of {of} rows of {group} say something else; {limit} may.",
        _LOOK_SOURCE,
        "{found} lignes sur {of} de {group} ont changé ; {limit} le peuvent.",
        _LOOK_SOURCE_FR,
    ),
    "sameness.same": _texts(
        "The file is, byte for byte, the one that was processed at {at}.",
        "Check that the export is a new one.",
        "Le fichier est, octet pour octet, celui qui a été traité le {at}.",
        "Vérifiez que l'export est nouveau.",
    ),
    "sameness.days": _texts(
        "The file has been the same for {days} days.",
        "Check that the export still runs.",
        "Le fichier est le même depuis {days} jours.",
        "Vérifiez que l'export fonctionne encore.",
    ),
    "sameness.older": _texts(
        "The file is an older one, processed at {at}: others came after it.",
        "Send the newest one.",
        "Le fichier est un ancien, traité le {at} : d'autres sont venus depuis.",
        "Envoyez le plus récent.",
    ),
}
