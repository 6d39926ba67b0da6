export name
name=$(whoami)
unset USER LOGNAME
/usr/bin/python3 -c '
import getpass, os, pathlib
assert getpass.getuser() == os.environ["name"]
home = os.environ.pop("HOME")
assert os.path.expanduser("~") == home, os.path.expanduser("~")
assert str(pathlib.Path.home()) == home'
node -e '
const { username, uid, gid, homedir } = require("os").userInfo();
const found = [username, uid, gid, homedir], sought = [process.env.name, process.getuid(), process.getgid(), process.env.HOME];
if (`${found}` != sought) throw `${found}`;'
perl -e '
my @account = getpwuid($<);
"@account[0, 2, 7]" eq "$ENV{name} $< $ENV{HOME}" or die "@account";
getgrgid((split " ", $()[0]) eq $ENV{name} or die;'
