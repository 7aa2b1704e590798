<?php
// Stands for the platform's command that uploads courses: a file that it cannot read, or a wrong option, is a sentence and exit 0.
require __DIR__ . '/platform.php';

$options = options(['mode' => '', 'updatemode' => 'nothing', 'file' => '', 'delimiter' => 'comma', 'encoding' => 'UTF-8']);
$state = platform();
echo "Moodle course uploader running ...\n";
if (!in_array($options['mode'], ['createnew', 'createall', 'createorupdate', 'update'], true)) {
    exit("Invalid mode selected\n");
}
if (!is_file($options['file']) || !is_readable($options['file'])) {
    exit(words($state, 'Invalid input CSV file') . "\n");
}
$handle = fopen($options['file'], 'r');
$separator = DELIMITERS[$options['delimiter']];
$header = fgetcsv($handle, 0, $separator, '"', '');
if (!$header || count($header) < 2) {
    fwrite(STDERR, "!!! Not enough columns, please verify the delimiter setting !!!\n");
    exit(1);
}
echo "line\tresult\tid\tshortname\tfullname\tidnumber\n";
[$total, $created, $updated, $errors] = [0, 0, 0, 0];
while (($fields = fgetcsv($handle, 0, $separator, '"', '')) !== false) {
    if ($fields === [null]) {
        continue;
    }
    $total++;
    $row = array_combine($header, array_pad(array_slice($fields, 0, count($header)), count($header), ''));
    $short = $row['shortname'] ?? '';
    if ($short === '' || ($row['fullname'] ?? '') === '') {
        $errors++;
        echo "$total\tNOK\t\t$short\t\t\n  Missing value for mandatory fields: fullname\n";
        continue;
    }
    $exists = isset($state['courses'][$short]);
    $state['courses'][$short] = $row['fullname'];
    $exists ? $updated++ : $created++;
    echo "$total\tOK\t$total\t$short\t{$row['fullname']}\t\n  ", $exists ? 'Course updated' : 'Course created', "\n";
}
keep($state);
echo words($state, 'Courses total'), ": $total\nCourses created: $created\nCourses updated: $updated\nCourses deleted: 0\n";
echo words($state, 'Courses errors'), ": $errors\n";
