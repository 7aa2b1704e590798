<?php
// hand_in.php: gives a claimed file to a tool that reads it from a place of its own, and tells how that went.
//
//     php hand_in.php --file=FILE --to=PLACE [--busy=LOCK]... -- COMMAND...
//
// Some batch tools take no file name: they read a file at a place of their settings and remove it (Moodle's flat file enrolments),
// or capture all that lies in a directory (the synchronisation plugin). This puts FILE there, whole and under its final name at
// once, runs COMMAND, and looks whether the file was taken.
//
// One hand-in to a directory goes at a time: a lock file in it, whose name such tools leave alone, is held for as long as COMMAND runs.
// Nothing that lies at PLACE is ever replaced; the same content, which a hand-in that was killed left there, is handed in again.
//
// Exit status: 75 ("try later, the file is not to blame") if PLACE still has an earlier file, if a LOCK is there, if another hand-in
// is under way, or if COMMAND ended with 0 and left the file; otherwise that of COMMAND. If COMMAND left the file it is taken away.
//
// Needs nothing but PHP's command line (7.4 or newer), so that it runs as the platform's user.

const TRY_LATER = 75;
const USAGE = 64;

/** Say why, and end. */
function stop(int $status, string $why): void
{
    fwrite(STDERR, "hand_in: $why\n");
    exit($status);
}

/** Whether two files have the same content. */
function same(string $one, string $other): bool
{
    return is_file($other) && @filesize($one) === @filesize($other) && @hash_file('sha256', $one) === @hash_file('sha256', $other);
}

$options = ['file' => null, 'to' => null, 'busy' => []];
$command = [];
$arguments = array_slice($argv, 1);
while ($arguments) {
    $argument = array_shift($arguments);
    if ($argument === '--') {
        $command = $arguments;
        break;
    }
    if (!preg_match('/^--(file|to|busy)=(.+)$/s', $argument, $found)) {
        stop(USAGE, "unknown argument $argument");
    }
    if ($found[1] === 'busy') {
        $options['busy'][] = $found[2];
    } else {
        $options[$found[1]] = $found[2];
    }
}
if ($options['file'] === null || $options['to'] === null || !$command) {
    stop(USAGE, 'usage: hand_in.php --file=FILE --to=PLACE [--busy=LOCK]... -- COMMAND...');
}

$place = $options['to'];
$directory = dirname($place);
if (!is_dir($directory) || !is_writable($directory)) {
    stop(TRY_LATER, "$directory is no directory that this user may write to");
}
$lock = @fopen("$directory/.sftpgate-hand-in", 'c');
if ($lock === false || !flock($lock, LOCK_EX | LOCK_NB)) {
    stop(TRY_LATER, "another hand-in to $directory is under way");
}
foreach ($options['busy'] as $busy) {
    if (file_exists($busy)) {
        stop(TRY_LATER, "$busy is there: the tool, or a sender, is at work");
    }
}
clearstatcache();
foreach (glob("$directory/.sftpgate-copy-*") as $left) {
    unlink($left);  // of a hand-in that was killed: we have the lock
}
if (is_link($place) || (file_exists($place) && !same($options['file'], $place))) {
    stop(TRY_LATER, "$place has a file that the tool has not taken yet");
}
if (!file_exists($place)) {
    $fresh = "$directory/.sftpgate-copy-" . getmypid();
    if (!@copy($options['file'], $fresh) || !same($options['file'], $fresh)) {
        @unlink($fresh);
        stop(TRY_LATER, "the file cannot be copied to $directory");
    }
    // A link in the place of a rename: it fails if something has the name by now.
    $made = @link($fresh, $place);
    unlink($fresh);
    if (!$made) {
        stop(TRY_LATER, "$place cannot be made");
    }
}
$held = fopen($place, 'r');  // as long as it is open, no other file can have its inode number
$inode = fileinode($place);

$process = proc_open($command, [0 => ['file', '/dev/null', 'r'], 1 => STDOUT, 2 => STDERR], $pipes);
if ($process === false) {
    unlink($place);
    stop(127, "$command[0] cannot be started");
}
$status = proc_close($process);

clearstatcache();
if (@fileinode($place) === $inode) {
    unlink($place);
    if ($status === 0) {
        stop(TRY_LATER, "the command ended well and did not take the file: is its setting $place, and is it enabled?");
    }
}
exit($status);
