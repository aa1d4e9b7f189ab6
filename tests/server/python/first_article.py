"""The program of everyone's first article about memcached, but for its import and the port."""

import sys

import pymemcache as memcache

client = memcache.Client(('localhost', int(sys.argv[1])))

client.set('key', 'value', expire=60)
value = client.get('key')
assert value == b'value', value
client.delete('key')
assert client.get('key') is None
