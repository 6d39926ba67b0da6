# Queues, memory and semaphores by name.
/usr/bin/python3 - <<'PYTHON'
import ctypes, os

library = ctypes.CDLL("librt.so.1", use_errno=True)


def call(name, *arguments):
    result = getattr(library, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


library.sem_open.restype = ctypes.c_void_p
queue = call("mq_open", b"/queue", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None)
if os.fork() == 0:
    call("mq_send", call("mq_open", b"/queue", os.O_WRONLY), b"sent", 4, 0)
    os._exit(0)
buffer = ctypes.create_string_buffer(8192)
length = call("mq_receive", queue, buffer, 8192, None)
assert buffer.raw[:length] == b"sent"
os.wait()
call("mq_unlink", b"/queue")
memory = call("shm_open", b"/memory", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
os.ftruncate(memory, 4096)
assert os.listdir("/dev/shm") == ["memory"]
call("shm_unlink", b"/memory")
semaphore = library.sem_open(b"/semaphore", os.O_CREAT | os.O_EXCL, 0o600, 1)
assert semaphore, ctypes.get_errno()
call("sem_wait", ctypes.c_void_p(semaphore))
call("sem_unlink", b"/semaphore")
PYTHON
