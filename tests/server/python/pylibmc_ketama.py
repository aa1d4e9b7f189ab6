"""Keys spread over several servers by libmemcached's ketama. Arguments: the ports.

Answers each line of input by a number of keys: "stored" stores them all anew, "found" looks them all up.
"""

import signal
import sys
import time

import pylibmc

# Whatever happens, it ends.
signal.alarm(60)

keys = [f'key{at}' for at in range(10_000)]
servers = [f'127.0.0.1:{port}' for port in sys.argv[1:]]
timeouts = {'failure_limit': 1, 'dead_timeout': 1, 'retry_timeout': 1}
client = pylibmc.Client(servers, behaviors={'ketama': True, 'tcp_nodelay': True, 'auto_eject': True, **timeouts})


def ask(call, *arguments):
    """What the call says when it is answered: libmemcached looks now and then whether a dead server is back."""
    while True:
        try:
            return call(*arguments)
        except pylibmc.Error:
            time.sleep(0.01)


def is_found(key):
    value = ask(client.get, key)
    assert value is None or value == key, (key, value)
    return value is not None


for line in sys.stdin:
    if line == 'stored\n':
        print(sum(ask(client.set, key, key) for key in keys), flush=True)
    else:
        print(sum(map(is_found, keys)), flush=True)
