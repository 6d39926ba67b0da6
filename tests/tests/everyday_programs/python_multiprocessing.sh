# A pool, a queue, a lock and a manager of each way to begin a process; shared memory by name.
cat > pool.py <<'PYTHON'
import multiprocessing
from multiprocessing import shared_memory


def square(number):
    return number * number


def write(name, lock):
    memory = shared_memory.SharedMemory(name)
    with lock:
        memory.buf[:5] = b"child"
    memory.close()


if __name__ == "__main__":
    for method in ["fork", "spawn"]:
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(square, range(9)) == [number**2 for number in range(9)]
        memory = shared_memory.SharedMemory(create=True, size=1 << 20)
        lock = context.Lock()
        process = context.Process(target=write, args=(memory.name, lock))
        process.start()
        process.join()
        assert bytes(memory.buf[:5]) == b"child"
        memory.close()
        memory.unlink()
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        assert shared.copy() == {"a": 1}
PYTHON
/usr/bin/python3 pool.py
