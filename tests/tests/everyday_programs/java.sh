# A runtime without a compiler runs classes only. This one is `javac --release 8 -g:none` of:
#     public class OutOfMemory {
#         public static void main(String[] a) {
#             String f = "/tmp/hsperfdata_" + System.getProperty("user.name");
#             System.out.println(new java.io.File(f).list().length == 1 ? f : "none");
#             int[][] x = new int[99][];
#             for (int i = 0; i < 99; i++) x[i] = new int[1 << 20];
#         }
#     }
base64 --decode > OutOfMemory.class <<'CLASS'
yv66vgAAADQAPwoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWBwAIAQAXamF2YS9sYW5nL1N0cmluZ0J1aWxkZXIKAAcA
AwgACwEAEC90bXAvaHNwZXJmZGF0YV8KAAcADQwADgAPAQAGYXBwZW5kAQAtKExqYXZhL2xhbmcvU3RyaW5nOylMamF2YS9sYW5nL1N0cmluZ0J1aWxkZXI7
CAARAQAJdXNlci5uYW1lCgATABQHABUMABYAFwEAEGphdmEvbGFuZy9TeXN0ZW0BAAtnZXRQcm9wZXJ0eQEAJihMamF2YS9sYW5nL1N0cmluZzspTGphdmEv
bGFuZy9TdHJpbmc7CgAHABkMABoAGwEACHRvU3RyaW5nAQAUKClMamF2YS9sYW5nL1N0cmluZzsJABMAHQwAHgAfAQADb3V0AQAVTGphdmEvaW8vUHJpbnRT
dHJlYW07BwAhAQAMamF2YS9pby9GaWxlCgAgACMMAAUAJAEAFShMamF2YS9sYW5nL1N0cmluZzspVgoAIAAmDAAnACgBAARsaXN0AQAVKClbTGphdmEvbGFu
Zy9TdHJpbmc7CAAqAQAEbm9uZQoALAAtBwAuDAAvACQBABNqYXZhL2lvL1ByaW50U3RyZWFtAQAHcHJpbnRsbgcAMQEAAltJAwAQAAAHADQBAAtPdXRPZk1l
bW9yeQEABENvZGUBAARtYWluAQAWKFtMamF2YS9sYW5nL1N0cmluZzspVgEADVN0YWNrTWFwVGFibGUHADoBABNbTGphdmEvbGFuZy9TdHJpbmc7BwA8AQAQ
amF2YS9sYW5nL1N0cmluZwcAPgEAA1tbSQAhADMAAgAAAAAAAgABAAUABgABADUAAAARAAEAAQAAAAUqtwABsQAAAAAACQA2ADcAAQA1AAAAkQAEAAQAAABQ
uwAHWbcACRIKtgAMEhC4ABK2AAy2ABhMsgAcuwAgWSu3ACK2ACW+BKAAByunAAUSKbYAKxBjvQAwTQM+HRBjogAQLB0SMrwKU4QDAaf/8LEAAAABADgAAAAv
AAT/AC8AAgcAOQcAOwABBwAs/wABAAIHADkHADsAAgcALAcAO/0ACgcAPQH6ABIAAA==
CLASS
# The file of counters that each virtual machine has below /tmp, by the user's name, whatever TMPDIR says.
java -Xmx16m -XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath="$PWD/heap.hprof" OutOfMemory > log 2>&1 && exit 1
cat log
grep -qx "/tmp/hsperfdata_$(whoami)" log
grep -q 'java.lang.OutOfMemoryError: Java heap space' log
test "$(head --bytes=12 heap.hprof)" = 'JAVA PROFILE'
# The heap itself in a file.
for folder in /tmp "$TMPDIR" /dev/shm; do
    java -Xmx16m -XX:AllocateHeapAt="$folder" OutOfMemory > log 2>&1 || :
    grep -q 'java.lang.OutOfMemoryError: Java heap space' log || { cat log; exit 1; }
done
