<?php
// Stands for `scheduled_task.php --execute=\tool_sync\task\enrolsync_task`: a task of the synchronisation plugin captures all files
// of the directory into the platform's file area, one version of a name, under a lock file of its own, then processes the file that
// its setting names.
require __DIR__ . '/platform.php';

$directory = getenv('SYNC_DIRECTORY');
$state = platform();
if (($state['task'] ?? '') === 'upgrade') {
    exit_with(1, 'Moodle upgrade pending, cannot manage tasks.');
} elseif (($state['task'] ?? '') === 'no cron') {
    exit_with(1, 'Cron is disabled. Use --force to override.');
} elseif (($state['task'] ?? '') === 'locked') {
    exit_with(130, 'Cannot obtain task lock');
}
$area = $state['area'] ?? [];
if (!file_exists("$directory/alock.txt")) {
    // a lock file that is there is overwritten, and the capture goes on: as the plugin does it
    if (@file_put_contents("$directory/lock.txt", (string) time()) !== false) {
        $entries = scandir($directory);
        foreach ($entries as $entry) {
            if (preg_match('/^[._]|lock/', $entry) || is_dir("$directory/$entry")) {
                continue;
            }
            $area[$entry] = base64_encode(file_get_contents("$directory/$entry"));
            usleep((int) (getenv('CAPTURE_MICROSECONDS') ?: 0));
            @unlink("$directory/$entry");
        }
        @unlink("$directory/lock.txt");
    }
}
preg_match('/^--execute=\\\\tool_sync\\\\task\\\\([a-z]+?)s?sync_task$/', $argv[1], $found) || exit("unknown task\n");
$name = "{$found[1]}s.csv";
echo "Execute scheduled task: $found[1]s\n";
if (($state['task'] ?? '') === 'fails') {
    $state['area'] = $area;
    keep($state);
    exit_with(0, "Scheduled task failed: $found[1]s (tool_sync\\task\\$found[1]sync_task),Unknown column");
}
$name = ($state['task'] ?? '') === 'another file' ? "other_$name" : $name;
if (isset($area[$name])) {
    $state['executed'][] = [$name, $area[$name]];
    unset($area[$name]);
    echo "Storing report\n";
}
$state['area'] = $area;
keep($state);
echo "Scheduled task complete: $found[1]s\n";

/** Say something, and end. */
function exit_with(int $status, string $text): void
{
    echo "$text\n";
    exit($status);
}
