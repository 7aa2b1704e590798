import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.UIKeyboardInteractive;
import com.jcraft.jsch.UserInfo;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;

/** The JSch client; see drivers/libraries.py for what it reads. */
public class JschClient {
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            OUT.println(JSch.VERSION);
            return;
        }
        Map<String, String> env = System.getenv();
        JSch jsch = new JSch();
        jsch.setKnownHosts(env.get("CLIENT_KNOWN_HOSTS"));
        if (env.get("CLIENT_METHOD").equals("publickey")) {
            jsch.addIdentity(env.get("CLIENT_KEY"));
        }
        Session session = jsch.getSession(env.get("CLIENT_USER"), env.get("CLIENT_HOST"), Integer.parseInt(env.get("CLIENT_PORT")));
        session.setPassword(env.get("CLIENT_PASSWORD"));
        session.setUserInfo(new Answers(env.get("CLIENT_PASSWORD")));
        session.setConfig("StrictHostKeyChecking", "yes");
        session.setConfig("PreferredAuthentications", env.get("CLIENT_METHOD"));
        env.forEach((name, value) -> {
            if (name.startsWith("JSCH_")) {
                session.setConfig(name.substring(5), value);
            }
        });
        int status = 0;
        try {
            session.connect(30_000);
            ChannelSftp sftp = (ChannelSftp) session.openChannel("sftp");
            sftp.connect(30_000);
            BufferedReader steps = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = steps.readLine(); line != null; line = steps.readLine()) {
                step(sftp, line.split("\t"));
            }
        } catch (Exception error) {
            OUT.println(error);
            status = 1;
        } finally {
            session.disconnect();
        }
        System.exit(status);
    }

    static void step(ChannelSftp sftp, String[] words) throws Exception {
        switch (words[0]) {
            case "put" -> sftp.put(words[1], words[2]);
            case "putp" -> {
                sftp.put(words[1], words[2]);
                sftp.setMtime(words[2], (int) (new File(words[1]).lastModified() / 1000));
            }
            case "resume" -> {
                OUT.println("resuming at " + sftp.stat(words[2]).getSize());
                sftp.put(words[1], words[2], ChannelSftp.RESUME);
            }
            case "append" -> sftp.put(words[1], words[2], ChannelSftp.APPEND);
            case "get" -> sftp.get(words[1], words[2]);
            case "stat" -> OUT.println("size " + sftp.stat(words[1]).getSize());
            case "list" -> {
                for (Object entry : sftp.ls(words[1])) {
                    OUT.println(((ChannelSftp.LsEntry) entry).getFilename());
                }
            }
            case "rename" -> sftp.rename(words[1], words[2]);
            case "remove" -> sftp.rm(words[1]);
            case "mkdir" -> sftp.mkdir(words[1]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** Answers every keyboard-interactive prompt with the password. */
    record Answers(String password) implements UserInfo, UIKeyboardInteractive {
        @Override
        public String[] promptKeyboardInteractive(String where, String name, String instruction, String[] prompts, boolean[] echo) {
            String[] answers = new String[prompts.length];
            Arrays.fill(answers, password);
            return answers;
        }

        @Override
        public String getPassphrase() {
            return null;
        }

        @Override
        public String getPassword() {
            return password;
        }

        @Override
        public boolean promptPassphrase(String message) {
            return false;
        }

        @Override
        public boolean promptPassword(String message) {
            return true;
        }

        @Override
        public boolean promptYesNo(String message) {
            return false;
        }

        @Override
        public void showMessage(String message) {
            OUT.println(message);
        }
    }
}
