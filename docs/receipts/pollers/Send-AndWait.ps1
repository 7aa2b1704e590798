<#
.SYNOPSIS
Send a file to an sftpgate server, wait until its receipt says what became of it, and exit by that.

.DESCRIPTION
  Send-AndWait.ps1 FILE NAME USER@HOST [options of sftp, such as -P 2222 -i erp_key]

Exit status: 0 taken by its tool, 1 it could not be sent or asked for, 2 wrong arguments, 3 correct it, 4 send it again,
5 ask the server's people, 6 nothing was said in time, 7 the receipt is not signed by a key of RECEIPT_SIGNERS.
RECEIPT_TIMEOUT: seconds to wait (3600). RECEIPT_SIGNERS: what `sftpgate hostkey show --allowed-signers` prints, in a file.
Needs PowerShell 5.1 and the OpenSSH client of Windows. NAME has no quotation marks, backslashes or wildcards.
#>

$ErrorActionPreference = 'Stop'

if ($args.Count -lt 3) {
    [Console]::Error.WriteLine('usage: Send-AndWait.ps1 FILE NAME USER@HOST [options of sftp]')
    exit 2
}
$file, $name, $target, $options = $args
$options = @($options | Where-Object { $null -ne $_ })

# Run one command of sftp; its exit status is in $LASTEXITCODE.
function Invoke-Sftp([string] $command) {
    $ErrorActionPreference = 'Continue'
    return ("$command`n" | & sftp -q -b - @options $target 2>&1 | Out-String)
}

# Return the bytes of a remote file, or nothing if it is not there.
function Get-Remote([string] $path) {
    $local = [IO.Path]::GetTempFileName()
    try {
        Invoke-Sftp ('get "{0}" "{1}"' -f $path, $local.Replace('\', '/')) | Out-Null
        if ($LASTEXITCODE -ne 0) { return $null }
        return , [IO.File]::ReadAllBytes($local)
    }
    finally {
        Remove-Item $local
    }
}

function ConvertFrom-Receipt([byte[]] $bytes) {
    return [Text.Encoding]::UTF8.GetString($bytes) | ConvertFrom-Json
}

$path = "/receipts/$name.json"
$before = $null
$earlier = Get-Remote $path
if ($null -ne $earlier) { $before = (ConvertFrom-Receipt $earlier).arrival }
$digest = (Get-FileHash -Algorithm SHA256 -LiteralPath $file).Hash.ToLowerInvariant()
$said = Invoke-Sftp ('put "{0}" "{1}"' -f $file.Replace('\', '/'), $name)
if ($LASTEXITCODE -ne 0) {
    [Console]::Error.WriteLine($said)
    exit 1
}

$timeout = 3600
if ($env:RECEIPT_TIMEOUT) { $timeout = [double] $env:RECEIPT_TIMEOUT }
$end = [DateTime]::UtcNow.AddSeconds($timeout)
$pause = 1
while ($true) {
    $receipt = Get-Remote $path
    if ($null -ne $receipt) {
        $told = ConvertFrom-Receipt $receipt
        $isOurs = $told.arrival -ne $before -and $told.sha256 -eq $digest
        if ($isOurs -and ($told.final -or $told.action -ne 'wait')) { break }
    }
    if ([DateTime]::UtcNow -ge $end) {
        [Console]::Error.WriteLine("${name}: no outcome within $timeout seconds")
        exit 6
    }
    Start-Sleep -Seconds $pause
    $pause = [Math]::Min($pause + 1, 15)
}

if ($env:RECEIPT_SIGNERS) {
    $directory = ''
    if ($name.Contains('/')) { $directory = $name.Substring(0, $name.LastIndexOf('/') + 1) }
    $scratch = [IO.Path]::GetTempFileName()
    $signature = "$scratch.sig"
    [IO.File]::WriteAllBytes($scratch, $receipt)
    $signed = Get-Remote ('/receipts/{0}{1}.sig' -f $directory, $told.receipt)
    if ($null -ne $signed) { [IO.File]::WriteAllBytes($signature, $signed) }
    # cmd passes the file on byte for byte; a pipe of PowerShell's would change its line ends
    cmd /c "ssh-keygen -Y verify -f `"$env:RECEIPT_SIGNERS`" -I sftpgate -n sftpgate-receipt -s `"$signature`" < `"$scratch`"" | Out-Null
    $isSigned = $LASTEXITCODE -eq 0
    Remove-Item $scratch, $signature -ErrorAction SilentlyContinue
    if (-not $isSigned) {
        [Console]::Error.WriteLine("${name}: the receipt is not signed by a key of $env:RECEIPT_SIGNERS")
        exit 7
    }
}

Write-Output ('{0}: {1} ({2}): {3}' -f $name, $told.state, $told.code, $told.text.en)
switch ($told.action) {
    'none' { exit 0 }
    'fix' { exit 3 }
    'resend' { exit 4 }
    default { exit 5 }
}
