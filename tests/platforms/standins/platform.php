<?php
// What the stand-ins share: a platform's users, courses and enrolments in one JSON file, named by PLATFORM.

/** The state of the platform; ends like a command line script of the platform if its database is away. */
function platform(): array
{
    $file = getenv('PLATFORM');
    if (file_exists("$file.away")) {
        fwrite(STDERR, "!!! Error: Database connection failed\n\nIt is possible that the database is overloaded or otherwise not running properly. !!!\n");
        fwrite(STDERR, "Stack trace: * line 371 of /lib/setuplib.php: dml_connection_exception thrown\n");
        exit(1);
    }
    return json_decode(file_get_contents($file), true);
}

/** What a script says in the language of the site, which is that of its messages. */
function words(array $state, string $english): string
{
    return WORDS[$state['lang'] ?? 'en'][$english] ?? $english;
}

// From the language packs of the platform.
const WORDS = [
    'fr' => ['Line' => 'Ligne', 'Error:' => 'Erreur :', 'Errors' => 'Erreurs', 'Users created' => 'Utilisateurs créés',
        'Courses total' => 'Total des cours du fichier déposé ', 'Courses errors' => 'Erreurs dans les cours ',
        'Invalid input CSV file' => 'Fichier CSV non valide'],
    'de' => ['Line' => 'Zeile', 'Error:' => 'Fehler:', 'Errors' => 'Fehler', 'Users created' => 'Nutzer/innen angelegt'],
    'sv' => ['Line' => 'Rad', 'Error:' => 'Fel:', 'Errors' => 'Fel'],
];

/** Keep the state. */
function keep(array $state): void
{
    file_put_contents(getenv('PLATFORM'), json_encode($state, JSON_UNESCAPED_UNICODE));
}

/** Options such as --file=x, with defaults; an unknown one ends the script. */
function options(array $known): array
{
    foreach (array_slice($GLOBALS['argv'], 1) as $argument) {
        if (!preg_match('/^--([a-z_]+)(?:=(.*))?$/s', $argument, $found) || !array_key_exists($found[1], $known)) {
            fwrite(STDERR, "Unrecognised options:\n  $argument\n");
            exit(1);
        }
        $known[$found[1]] = $found[2] ?? true;
    }
    return $known;
}

const DELIMITERS = ['comma' => ',', 'semicolon' => ';', 'tab' => "\t", 'colon' => ':'];
