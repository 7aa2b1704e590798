// The ssh2-sftp-client program; see drivers/libraries.py for what it reads.
'use strict';

const fs = require('node:fs');
const Client = require('ssh2-sftp-client');

const env = process.env;

// The host key must be one of those in the known_hosts file: its lines are "host type base64".
const pinned = fs
  .readFileSync(env.CLIENT_KNOWN_HOSTS, 'utf8')
  .split('\n')
  .map((line) => line.split(' ')[2]);

const steps = {
  put: (sftp, local, remote) => sftp.fastPut(local, remote),
  resume: async (sftp, local, remote) => {
    const { size } = await sftp.stat(remote);
    console.log(`resuming at ${size}`);
    await sftp.put(fs.createReadStream(local, { start: size }), remote, { writeStreamOptions: { flags: 'r+', start: size } });
  },
  append: (sftp, local, remote) => sftp.append(fs.createReadStream(local), remote),
  get: (sftp, remote, local) => sftp.fastGet(remote, local),
  stat: async (sftp, remote) => console.log('size', (await sftp.stat(remote)).size),
  list: async (sftp, directory) => (await sftp.list(directory)).forEach((entry) => console.log(entry.name)),
  rename: (sftp, from, to) => sftp.rename(from, to),
  remove: (sftp, remote) => sftp.delete(remote),
  mkdir: (sftp, remote) => sftp.mkdir(remote),
};

async function main() {
  const sftp = new Client();
  const login = {
    publickey: { privateKey: fs.readFileSync(env.CLIENT_KEY) },
    password: { password: env.CLIENT_PASSWORD },
    'keyboard-interactive': { tryKeyboard: true },
  }[env.CLIENT_METHOD];
  sftp.on('keyboard-interactive', (_name, _instructions, _language, prompts, finish) => finish(prompts.map(() => env.CLIENT_PASSWORD)));
  await sftp.connect({
    host: env.CLIENT_HOST,
    port: Number(env.CLIENT_PORT),
    username: env.CLIENT_USER,
    hostVerifier: (key) => pinned.includes(key.toString('base64')),
    ...login,
  });
  sftp.client.setNoDelay(true); // without it, every small file waits for delayed acknowledgements
  try {
    for (const line of fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
      const [verb, ...words] = line.split('\t');
      await steps[verb](sftp, ...words);
    }
  } finally {
    await sftp.end();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
