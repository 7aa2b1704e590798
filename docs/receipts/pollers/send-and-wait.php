<?php
// Send a file to an sftpgate server, wait until its receipt says what became of it, and exit by that.
//
//   php send-and-wait.php FILE NAME USER@HOST [options of sftp, such as -P 2222 -i erp_key]
//
// Exit status: 0 taken by its tool, 1 it could not be sent or asked for, 2 wrong arguments, 3 correct it, 4 send it again,
// 5 ask the server's people, 6 nothing was said in time, 7 the receipt is not signed by a key of RECEIPT_SIGNERS.
// RECEIPT_TIMEOUT: seconds to wait (3600). RECEIPT_SIGNERS: what `sftpgate hostkey show --allowed-signers` prints, in a file.
// Needs PHP 7.4 and OpenSSH's sftp and, for signatures, its ssh-keygen.

const LONGEST_PAUSE_SECONDS = 15;

/** Return the exit status of a program, and what it says on standard error. */
function run(array $words, string $input): array
{
    $pipes = [];
    $said = tmpfile();
    $process = proc_open($words, [['pipe', 'r'], ['file', '/dev/null', 'w'], $said], $pipes);
    if ($process === false) {
        return [127, "cannot start {$words[0]}"];
    }
    fwrite($pipes[0], $input);
    fclose($pipes[0]);
    $status = proc_close($process);
    rewind($said);
    return [$status, trim(stream_get_contents($said))];
}

/** Return a path for a batch of sftp, standing for itself. */
function quoted(string $path): string
{
    return '"' . preg_replace('/["\\\\*?[]/', '\\\\$0', $path) . '"';
}

/** Run one command of sftp. */
function sftp(string $command, array $target): array
{
    return run(array_merge(['sftp', '-q', '-b', '-'], array_slice($target, 1), [$target[0]]), "$command\n");
}

/** Return the content of a remote file, null if it is not there. */
function fetched(string $path, array $target): ?string
{
    $local = tempnam(sys_get_temp_dir(), 'receipt');
    [$status] = sftp('get ' . quoted($path) . ' ' . quoted($local), $target);
    $content = $status === 0 ? file_get_contents($local) : null;
    unlink($local);
    return $content;
}

/** Say something, and end. */
function end_with(int $status, string $message): void
{
    fwrite($status === 0 ? STDOUT : STDERR, "$message\n");
    exit($status);
}

if ($argc < 4) {
    end_with(2, 'usage: send-and-wait.php FILE NAME USER@HOST [options of sftp]');
}
[, $file, $name] = $argv;
$target = array_slice($argv, 3);
$path = "/receipts/$name.json";
$earlier = fetched($path, $target);
$before = $earlier === null ? null : json_decode($earlier, true)['arrival'];
$digest = hash_file('sha256', $file);
[$status, $said] = sftp('put ' . quoted($file) . ' ' . quoted($name), $target);
if ($status !== 0) {
    end_with(1, $said ?: "$name could not be sent");
}

$timeout = (float) (getenv('RECEIPT_TIMEOUT') ?: 3600);
$end = microtime(true) + $timeout;
$pause = 1;
while (true) {
    $receipt = fetched($path, $target);
    if ($receipt !== null) {
        $told = json_decode($receipt, true);
        $is_ours = $told['arrival'] !== $before && $told['sha256'] === $digest;
        if ($is_ours && ($told['final'] || $told['action'] !== 'wait')) {
            break;
        }
    }
    if (microtime(true) >= $end) {
        end_with(6, "$name: no outcome within $timeout seconds");
    }
    usleep((int) (1e6 * max(0.0, min($pause, $end - microtime(true)))));
    $pause = min($pause + 1, LONGEST_PAUSE_SECONDS);
}

if ($signers = getenv('RECEIPT_SIGNERS')) {
    $directory = dirname($name) === '.' ? '' : dirname($name) . '/';
    $signature = tempnam(sys_get_temp_dir(), 'signature');
    file_put_contents($signature, (string) fetched("/receipts/$directory{$told['receipt']}.sig", $target));
    $words = ['ssh-keygen', '-Y', 'verify', '-f', $signers, '-I', 'sftpgate', '-n', 'sftpgate-receipt', '-s', $signature];
    [$status] = run($words, $receipt);
    unlink($signature);
    if ($status !== 0) {
        end_with(7, "$name: the receipt is not signed by a key of $signers");
    }
}

fwrite(STDOUT, "$name: {$told['state']} ({$told['code']}): {$told['text']['en']}\n");
exit(['none' => 0, 'fix' => 3, 'resend' => 4][$told['action']] ?? 5);
