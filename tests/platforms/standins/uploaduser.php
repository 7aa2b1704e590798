<?php
// Stands for the platform's command that uploads users: exits with 0 whatever happens to the rows, and says what happened in words.
require __DIR__ . '/platform.php';

$options = options(['file' => '', 'uutype' => '0', 'uuupdatetype' => '0', 'uuallowsuspends' => '1', 'uupasswordnew' => '1',
    'delimiter_name' => 'comma', 'encoding' => 'UTF-8']);
if (!is_readable($options['file'])) {
    fwrite(STDERR, "File {$options['file']} does not exist or is not readable\n");
    exit(1);
}
$state = platform();
$handle = fopen($options['file'], 'r');
$separator = DELIMITERS[$options['delimiter_name']];
$header = fgetcsv($handle, 0, $separator, '"', '');
if ($header === false || count($header) < 2) {
    fwrite(STDERR, "Error: There is something wrong with the format of the CSV file. Please check that it includes column names.\n");
    exit(1);
}
if ($unknown = array_diff($header, ['username', 'firstname', 'lastname', 'email', 'suspended', 'idnumber'])) {
    fwrite(STDERR, '!!! "' . reset($unknown) . "\" is not a valid field name !!!\n");
    exit(1);
}
[$created, $updated, $skipped, $errors] = [0, 0, 0, 0];
$line = 1;
while (($fields = fgetcsv($handle, 0, $separator, '"', '')) !== false) {
    if ($fields === [null]) {
        continue;
    }
    $line++;
    echo words($state, 'Line'), " $line\n";
    $row = array_combine($header, array_pad(array_slice($fields, 0, count($header)), count($header), ''));
    $name = $row['username'];
    if ($name === '') {
        echo '  ', words($state, 'Error:'), " Missing field: username\n";
        $errors++;
    } elseif (isset($state['users'][$name])) {
        if ($options['uutype'] === '0') {
            echo "  Warning: User not added - already registered\n";
            $skipped++;
            continue;
        }
        $before = $state['users'][$name];
        if ($options['uuupdatetype'] !== '0') {
            $state['users'][$name] = array_merge($before, array_diff_key($row, ['suspended' => 1]));
        }
        if ($options['uuallowsuspends'] === '1' && ($row['suspended'] ?? '') !== '') {
            $state['users'][$name]['suspended'] = $row['suspended'];
        }
        $changed = $state['users'][$name] !== $before;
        echo $changed ? "  User updated\n" : "  User up-to-date\n";
        $updated += (int) $changed;
    } elseif (!filter_var($row['email'] ?? '', FILTER_VALIDATE_EMAIL)) {
        foreach (['User not added - error', 'Email address: Invalid email address'] as $why) {
            echo '  ', words($state, 'Error:'), " $why\n";
        }
        $errors++;
    } else {
        $state['users'][$name] = $row;
        echo "  User added\n";
        $created++;
    }
}
keep($state);
echo str_repeat('-', 79), "\n";
echo words($state, 'Users created'), ": $created\n";
if ($options['uutype'] !== '0') {
    echo "Users updated: $updated\n";
}
echo "Users skipped: $skipped\nUsers having a weak password: 0\n", words($state, 'Errors'), ": $errors\n";
