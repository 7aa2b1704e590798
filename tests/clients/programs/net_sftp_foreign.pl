# The Net::SFTP::Foreign client of Perl, which starts ssh; see drivers/libraries.py for what it reads.
use strict;
use warnings;
use open qw(:std :utf8);
use Net::SFTP::Foreign;

if (@ARGV) { print "$Net::SFTP::Foreign::VERSION\n"; exit }

my @ssh = (-F => 'none', map { ('-o', $_) } (
    "UserKnownHostsFile=$ENV{CLIENT_KNOWN_HOSTS}", 'GlobalKnownHostsFile=none', 'StrictHostKeyChecking=yes',
    "IdentityFile=$ENV{CLIENT_KEY}", 'IdentitiesOnly=yes', 'IdentityAgent=none', 'BatchMode=yes',
));
my $sftp = Net::SFTP::Foreign->new(
    host => $ENV{CLIENT_HOST}, port => $ENV{CLIENT_PORT}, user => $ENV{CLIENT_USER},
    fs_encoding => 'utf8', timeout => 30, autodie => 1, more => \@ssh,
);
my %steps = (
    put    => sub { $sftp->put($_[0], $_[1], copy_perm => 0, copy_time => 0) },
    putp   => sub { $sftp->put($_[0], $_[1], copy_perm => 0, copy_time => 1) },
    resume => sub { $sftp->put($_[0], $_[1], copy_perm => 0, copy_time => 0, resume => 1) },
    append => sub { $sftp->put($_[0], $_[1], copy_perm => 0, copy_time => 0, append => 1) },
    get    => sub { $sftp->get($_[0], $_[1]) },
    stat   => sub { print 'size ', $sftp->stat($_[0])->size, "\n" },
    list   => sub { print map { "$_->{filename}\n" } @{ $sftp->ls($_[0]) } },
    rename => sub { $sftp->rename($_[0], $_[1]) },
    remove => sub { $sftp->remove($_[0]) },
    mkdir  => sub { $sftp->mkdir($_[0]) },
);
while (my $line = <STDIN>) {
    chomp $line;
    my ($verb, @words) = split /\t/, $line;
    $steps{$verb}->(@words);
}
