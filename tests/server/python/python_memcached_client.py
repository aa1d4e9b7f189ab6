"""The ordinary calls of python-memcached, which tells by the flags what a value is. Arguments: the port."""

import sys
import time

import memcache

client = memcache.Client([f'127.0.0.1:{sys.argv[1]}'], cache_cas=True, socket_timeout=20)

for value in ['text', 'Grüße', b'bytes', '', 0, -17, 2**70, 2.5, True, False, None, [1, 'two', 3.0], {'a': (1, 2)}]:
    assert client.set('v', value)
    back = client.get('v')
    assert back == value and type(back) is type(value), (value, back)

# It compresses what is long enough, and says so by a flag.
text = 'a long text ' * 100_000
assert client.set('long', text, min_compress_len=1000) and client.get('long') == text
large = bytes(range(256)) * 3900
assert client.set('large', large) and client.get('large') == large

assert client.add('a', 1) and not client.add('a', 2)
assert client.replace('a', 2) and not client.replace('none', 2)
assert client.set('s', 'b') and client.append('s', 'c') and client.prepend('s', 'a') and client.get('s') == 'abc'
assert client.incr('a', 5) == 7 and client.decr('a') == 6 and client.decr('a', 100) == 0 and client.incr('none') is None
assert client.get('a') == 0

many = {f'key{at}': at for at in range(500)}
assert client.set_multi(many) == []
assert client.get_multi([*many, 'none']) == many
assert client.get_multi(['1', '2'], key_prefix='key') == {'1': 1, '2': 2}
assert client.delete_multi(list(many)[:250])
assert len(client.get_multi(many)) == 250

other = memcache.Client([f'127.0.0.1:{sys.argv[1]}'], cache_cas=True)
assert client.gets('a') == 0 and other.gets('a') == 0
assert other.cas('a', 1)
assert not client.cas('a', 2)
assert client.get('a') == 1

assert client.set('short', 1, time=1) and client.set('touched', 1, time=1)
assert client.touch('touched', 100)
time.sleep(2.2)
assert client.get('short') is None and client.get('touched') == 1

assert client.delete('a') and client.get('a') is None
(_, stats), = client.get_stats()
assert int(stats['curr_items']) > 250
client.flush_all()
assert client.get('touched') is None
client.disconnect_all()
