# The Net::SFTP client of Ruby; see drivers/libraries.py for what it reads.
require 'net/sftp'
require 'net/sftp/version'

if ARGV.first == '--version'
  puts Net::SFTP::Version::STRING
  exit
end

STEPS = {
  'put' => ->(sftp, local, remote) { sftp.upload!(local, remote) },
  'putp' => lambda do |sftp, local, remote|
    sftp.upload!(local, remote)
    stat = File.stat(local)
    sftp.setstat!(remote, atime: stat.atime.to_i, mtime: stat.mtime.to_i)
  end,
  'append' => lambda do |sftp, local, remote|
    File.open(local, 'rb') do |source|
      sftp.file.open(remote, 'a') do |target|
        while (data = source.read(32_768))
          target.write(data)
        end
      end
    end
  end,
  'get' => ->(sftp, remote, local) { sftp.download!(remote, local) },
  'stat' => ->(sftp, remote) { puts "size #{sftp.stat!(remote).size}" },
  'list' => ->(sftp, directory) { sftp.dir.foreach(directory) { |entry| puts entry.name } },
  'rename' => ->(sftp, old, new) { sftp.rename!(old, new) },
  'remove' => ->(sftp, remote) { sftp.remove!(remote) },
  'mkdir' => ->(sftp, remote) { sftp.mkdir!(remote) }
}.freeze

options = {
  port: Integer(ENV.fetch('CLIENT_PORT')),
  auth_methods: [ENV.fetch('CLIENT_METHOD')],
  user_known_hosts_file: ENV.fetch('CLIENT_KNOWN_HOSTS'),
  global_known_hosts_file: [],
  verify_host_key: :always,
  config: false,
  use_agent: false,
  non_interactive: true
}
if ENV['CLIENT_METHOD'] == 'publickey'
  options.update(keys: [ENV.fetch('CLIENT_KEY')], keys_only: true)
else
  options[:password] = ENV.fetch('CLIENT_PASSWORD')
end

begin
  Net::SFTP.start(ENV.fetch('CLIENT_HOST'), ENV.fetch('CLIENT_USER'), options) do |sftp|
    $stdin.each_line(chomp: true) do |line|
      verb, *words = line.force_encoding('UTF-8').split("\t")
      STEPS.fetch(verb).call(sftp, *words)
    end
  end
rescue StandardError => e
  warn "#{e.class}: #{e.message}"
  exit 1
end
