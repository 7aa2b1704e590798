<?php
// Stands for the platform's flat file enrolments: reads the file at its configured place, says what it ignores, removes the file.
require __DIR__ . '/platform.php';

$state = platform();
$place = $state['flatfile'] ?? '';
if (!empty($state['flatfile_disabled'])) {
    exit(2);
}
if (!file_exists($place)) {
    exit("Flatfile enrolments file not found: " . basename($place) . "\n");
}
echo "Processing flat file enrolments from: " . basename($place) . " ...\n";
foreach (explode("\n", str_replace("\r", '', file_get_contents($place))) as $number => $text) {
    $line = $number + 1;
    if (trim($text) === '') {
        continue;
    }
    $fields = array_map('trim', explode(strpos($text, ',') !== false ? ',' : ';', $text));
    if (count($fields) < 4 || count($fields) > 6) {
        echo "  Line incorrectly formatted - ignoring $line\n";
        continue;
    }
    echo "  $line: ", implode(', ', $fields), "\n";
    [$what, $role, $user, $course] = $fields;
    if (!in_array($what, ['add', 'del'], true)) {
        echo "  Unknown operation in field 1 - ignoring line $line\n";
    } elseif (!in_array($role, ['student', 'editingteacher'], true)) {
        echo "  Unknown role in field2 - ignoring line $line\n";
    } elseif (!isset($state['users'][$user])) {
        echo "  Unknown user idnumber or deleted user in field 3 - ignoring line $line\n";
    } elseif (!isset($state['courses'][$course])) {
        echo "  Unknown course idnumber in field 4 - ignoring line $line\n";
    } elseif ($what === 'add') {
        $state['enrolments']["$course/$user"] = $role;
    } else {
        unset($state['enrolments']["$course/$user"]);
    }
}
keep($state);
echo unlink($place) ? "  Deleted enrolment file\n" : "  Error deleting enrolment file: $place\n";
echo "...finished enrolment file processing.\n";
