"""The ordinary calls of python-binary-memcached. Arguments: the port, and a user and a password where they are asked for."""

import sys
import time

import bmemcached
from bmemcached.exceptions import MemcachedException

address = f'127.0.0.1:{sys.argv[1]}'
signed_in = sys.argv[2:]
client = bmemcached.Client(address, *signed_in, socket_timeout=20)

for value in ['text', b'bytes', '', 0, -17, 2**70, 2.5, True, [1, 'two', 3.0], {'a': (1, 2)}]:
    assert client.set('v', value)
    back = client.get('v')
    assert back == value, (value, back)
assert client.get('none') is None and client.get('none', 'default') == 'default'

large = bytes(range(256)) * 3900
assert client.set('large', large, compress_level=0) and client.get('large') == large
text = 'a long text ' * 100_000
assert client.set('long', text) and client.get('long') == text

assert client.add('a', 1) and not client.add('a', 2)
assert client.replace('a', 2) and not client.replace('none', 2)
assert client.incr('n', 5, default=10) == 10 and client.incr('n', 5) == 15 and client.decr('n', 20) == 0

many = {f'key{at}': at for at in range(500)}
client.set_multi(many)
assert client.get_multi([*many, 'none']) == many
client.delete_multi(list(many)[:250])
assert len(client.get_multi(list(many))) == 250

value, unique = client.gets('a')
assert value == 2 and client.cas('a', 3, unique) and not client.cas('a', 4, unique)
assert client.get('a') == 3

assert client.set('short', 1, time=1)
assert client.set('lasting', 1, time=100)
time.sleep(2.2)
assert client.get('short') is None and client.get('lasting') == 1

assert client.delete('a') and client.get('a') is None
assert int(client.stats()[address]['curr_items']) > 250

if signed_in:
    user, password = signed_in
    for wrong in [(user, password + 'x'), ('nobody', password)]:
        try:
            bmemcached.Client(address, *wrong).get('lasting')
            raise SystemExit('these are no credentials')
        except MemcachedException as error:
            assert error.code == 0x20, error
    # Without any, nothing is read and nothing is stored.
    try:
        assert bmemcached.Client(address).get('lasting') is None
    except MemcachedException:
        pass

assert client.flush_all() and client.get('lasting') is None
client.disconnect_all()
