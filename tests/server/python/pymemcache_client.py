"""The ordinary calls of pymemcache. Arguments: the port."""

import sys
import time

from pymemcache import serde
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

address = ('127.0.0.1', int(sys.argv[1]))
client = Client(address, default_noreply=False, connect_timeout=20, timeout=20, no_delay=True)

assert client.set('a', b'one') and client.get('a') == b'one'
assert client.get('none') is None and client.get('none', 'default') == 'default'
assert client.add('a', b'x') is False and client.add('b', b'two') is True
assert client.replace('b', b'Two') is True and client.replace('none', b'x') is False
assert client.append('a', b'+') and client.prepend('a', b'-') and client.get('a') == b'-one+'
assert client.delete('a') is True and client.delete('a') is False

# A value that has been changed meanwhile is not stored.
value, unique = client.gets('b')
assert value == b'Two'
assert client.cas('b', b'three', unique) is True
assert client.cas('b', b'four', unique) is False
assert client.cas('none', b'x', unique) is None
assert client.get('b') == b'three'
assert set(client.gets_many(['b', 'none'])) == {'b'}

client.set('n', '10')
assert client.incr('n', 5) == 15 and client.decr('n', 20) == 0 and client.incr('none', 1) is None
client.set('n', str(2**64 - 1))
assert client.incr('n', 1) == 0

many = {f'key{at}': b'%d' % at for at in range(1000)}
assert client.set_many(many) == []
assert client.get_many([*many, 'none']) == many
client.delete_many(list(many)[:500])
assert client.get_many(many) == dict(list(many.items())[500:])
# Nobody waits for an answer here, and the next answer is the right one.
client.set('quiet', b'q', noreply=True)
client.delete('b', noreply=True)
assert client.get('quiet') == b'q' and client.get('b') is None

large = bytes(range(256)) * 3900
assert client.set('large', large, flags=0xffffffff) and client.get('large') == large
try:
    client.set('large', bytes(2 << 20))
    raise SystemExit('2 MiB are above the limit')
except Exception as error:
    assert 'too large' in str(error), error
assert client.get('large') is None, 'what was to be replaced is gone'

client.set('short', b'x', expire=1)
client.set('touched', b'x', expire=1)
assert client.touch('touched', 100) is True and client.touch('none', 100) is False
client.set('cut', b'x')
client.touch('cut', 1)
client.set('past', b'x', expire=-1)
assert client.get('past') is None
time.sleep(2.2)
assert client.get_many(['short', 'touched', 'cut']) == {'touched': b'x'}

assert client.version().decode()[0].isdigit()
assert client.stats()[b'curr_items'] > 500
assert client.cache_memlimit(32) is True

objects = Client(address, serde=serde.pickle_serde, key_prefix='objects:')
for value in [7, 'text', b'bytes', {'a': [1, 2.5, None, True]}]:
    objects.set('o', value)
    assert objects.get('o') == value
spread = HashClient([address], use_pooling=True)
spread.set_many({'s1': b'1', 's2': b'2'})
assert spread.get_many(['s1', 's2']) == {'s1': b'1', 's2': b'2'}
pool = PooledClient(address, max_pool_size=4)
pool.set('p', b'1')
assert pool.get('p') == b'1'

assert client.flush_all() is True and client.get('p') is None
client.quit()
