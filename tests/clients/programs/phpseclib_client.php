<?php

// The phpseclib client; see drivers/libraries.py for what it reads. Its argument is phpseclib's autoload file.

use phpseclib3\Crypt\PublicKeyLoader;
use phpseclib3\Net\SFTP;

require $argv[1];

function must(mixed $result, SFTP $sftp, string $what): mixed
{
    if ($result === false) {
        $errors = $sftp->getSFTPErrors();
        throw new RuntimeException("$what: " . (end($errors) ?: 'failed'));
    }

    return $result;
}

function step(SFTP $sftp, string $verb, string ...$words): void
{
    switch ($verb) {
        case 'put':
        case 'putp':
            $verb === 'putp' ? $sftp->enableDatePreservation() : $sftp->disableDatePreservation();
            must($sftp->put($words[1], $words[0], SFTP::SOURCE_LOCAL_FILE), $sftp, 'put');
            break;
        case 'resume':
            // both offsets: SFTP::RESUME alone appends the whole file to the part that is there
            $size = must($sftp->filesize($words[1]), $sftp, 'resume');
            echo "resuming at $size\n";
            must($sftp->put($words[1], $words[0], SFTP::SOURCE_LOCAL_FILE, $size, $size), $sftp, 'resume');
            break;
        case 'append':
            must($sftp->put($words[1], $words[0], SFTP::SOURCE_LOCAL_FILE | SFTP::RESUME), $sftp, 'append');
            break;
        case 'get':
            must($sftp->get($words[0], $words[1]), $sftp, 'get');
            break;
        case 'stat':
            echo 'size ', must($sftp->stat($words[0]), $sftp, 'stat')['size'], "\n";
            break;
        case 'list':
            echo implode("\n", must($sftp->nlist($words[0]), $sftp, 'list')), "\n";
            break;
        case 'rename':
            must($sftp->rename($words[0], $words[1]), $sftp, 'rename');
            break;
        case 'remove':
            must($sftp->delete($words[0], false), $sftp, 'remove');
            break;
        case 'mkdir':
            must($sftp->mkdir($words[0]), $sftp, 'mkdir');
            break;
        default:
            throw new InvalidArgumentException($verb);
    }
}

$sftp = new SFTP(getenv('CLIENT_HOST'), (int) getenv('CLIENT_PORT'));
$pinned = array_map(fn ($line) => implode(' ', array_slice(explode(' ', $line), 1, 2)), file(getenv('CLIENT_KNOWN_HOSTS'), FILE_IGNORE_NEW_LINES));
try {
    if (!in_array($sftp->getServerPublicHostKey(), $pinned, true)) {
        throw new RuntimeException('the host key is not the one that was pinned');
    }
    $secret = getenv('CLIENT_METHOD') === 'publickey'
        ? PublicKeyLoader::load(file_get_contents(getenv('CLIENT_KEY')))
        : getenv('CLIENT_PASSWORD');
    if (!$sftp->login(getenv('CLIENT_USER'), $secret)) {
        throw new RuntimeException('login refused');
    }
    while (($line = fgets(STDIN)) !== false) {
        step($sftp, ...explode("\t", rtrim($line, "\n")));
    }
} catch (Throwable $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
