#!/usr/bin/python3
"""swift_config.py FOLDER ACCOUNT CONTAINER OBJECT PROXY TLS_PROXY MEMCACHED USER KEY [CERT KEY]: what one Swift server
with its S3 interface needs in FOLDER: rings, configuration, folders. The capitals in the middle are its ports."""
import getpass
import os
import sys

from swift.common.ring import RingBuilder

folder = sys.argv[1]
account, container, obj, proxy, tls_proxy, memcached = (int(port) for port in sys.argv[2:8])
s3_user, s3_key = sys.argv[8:10]
certificate = sys.argv[10:12]


def write(name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def default_section(port):
    return f"""[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {getpass.getuser()}
swift_dir = {folder}
devices = {folder}/data
mount_check = false
fallocate_reserve = 0
log_statsd_host =
"""


os.makedirs(os.path.join(folder, "data", "d1"), exist_ok=True)
# Swift gives its parts half a second to connect and one to add an object to its bucket's list, and leaves alone for a
# minute whoever was late or hadn't started. On a busy machine all are late now and then.
PATIENCE = "60"

write("swift.conf", """[swift-hash]
swift_hash_path_prefix = understudy
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
""")
for name, port in (("account", account), ("container", container), ("object", obj)):
    builder = RingBuilder(4, 1, 0)  # 16 parts, one replica
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1,
                     "replication_ip": "127.0.0.1", "replication_port": port})
    builder.rebalance()
    builder.get_ring().save(os.path.join(folder, f"{name}.ring.gz"))
    write(f"{name}.conf", default_section(port) + f"""[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
conn_timeout = {PATIENCE}
node_timeout = {PATIENCE}
container_update_timeout = {PATIENCE}
""")

PROXY = f"""[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth bulk slo dlo copy proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = {PATIENCE}
node_timeout = {PATIENCE}
recoverable_node_timeout = {PATIENCE}
error_suppression_limit = 1000000
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
check_bucket_owner = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_{s3_user.replace(":", "_")} = {s3_key} .admin
"""
for name in ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "dlo", "copy"):
    PROXY += f"[filter:{name}]\nuse = egg:swift#{name}\n"
write("proxy.conf", default_section(proxy) + PROXY)
if certificate:
    files = f"cert_file = {certificate[0]}\nkey_file = {certificate[1]}\n"
    write("tls_proxy.conf", default_section(tls_proxy) + files + PROXY)
