"""The ordinary calls of pylibmc, which is libmemcached, by both protocols. Arguments: the port."""

import sys
import time

import pylibmc


def check(client):
    for value in ['text', b'bytes', '', 0, -17, 2.5, True, False, [1, 'two', 3.0], {'a': (1, 2)}]:
        assert client.set('v', value)
        back = client.get('v')
        # It makes numbers of booleans.
        same = type(back) is type(value) or isinstance(value, bool)
        assert back == value and same, (value, back)
    assert client.get('none') is None

    large = bytes(range(256)) * 3900
    assert client.set('large', large) and client.get('large') == large
    text = b'a long text ' * 100_000
    assert client.set('long', text, min_compress_len=1000) and client.get('long') == text

    assert client.add('a', 1) and not client.add('a', 2)
    assert client.replace('a', 2)
    try:
        # By the binary protocol this is raised.
        assert not client.replace('none', 2)
    except pylibmc.NotFound:
        pass
    assert client.incr('a', 5) == 7 and client.decr('a') == 6
    try:
        client.incr('none')
        raise SystemExit('there is nothing to count')
    except pylibmc.NotFound:
        pass
    assert client.set('s', b'b') and client.append('s', b'c') and client.prepend('s', b'a') and client.get('s') == b'abc'

    many = {f'key{at}': at for at in range(500)}
    assert client.set_multi(many) == []
    assert client.get_multi([*many, 'none']) == many
    client.delete_multi(list(many)[:250])
    assert len(client.get_multi(list(many))) == 250

    value, unique = client.gets('a')
    assert value == 6 and client.cas('a', 7, unique) and not client.cas('a', 8, unique)
    assert client.get('a') == 7

    assert client.set('short', 1, time=1) and client.set('touched', 1, time=1)
    assert client.touch('touched', 100)
    time.sleep(2.2)
    assert client.get('short') is None and client.get('touched') == 1

    assert client.delete('a') and not client.delete('a')
    (_, stats), = client.get_stats()
    assert int(stats['curr_items']) > 250
    assert client.flush_all() and client.get('touched') is None
    client.disconnect_all()


address = [f'127.0.0.1:{sys.argv[1]}']
for binary in [False, True]:
    check(pylibmc.Client(address, binary=binary, behaviors={'cas': True, 'tcp_nodelay': True, 'ketama': True}))
