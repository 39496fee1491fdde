"""The peers: each as its own documentation sets it up for speed, on loopback, with what it needs in one folder."""
import glob
import os

from processes import BIN, find, free_port

NODE = """
const http = require('node:http');
http.createServer((request, response) => {
  const chunks = [];
  request.on('data', chunk => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    const text = request.url === '/json' ? transform(body) : 'Hello ' + body;
    response.writeHead(200, {'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(text)});
    response.end(text);
  });
}).listen(+process.argv[2], '127.0.0.1');
function transform(body) {
  const items = JSON.parse(body);
  let total = 0;
  const names = items.map(item => { total += item.price * item.count; return item.name.toUpperCase(); });
  return JSON.stringify({total, names});
}
"""

PHP = """<?php
$body = file_get_contents('php://input');
if ($_SERVER['REQUEST_URI'] === '/json') {
    $total = 0; $names = [];
    foreach (json_decode($body, true) as $item) {
        $total += $item['price'] * $item['count'];
        $names[] = strtoupper($item['name']);
    }
    $text = json_encode(['total' => $total, 'names' => $names]);
} else {
    $text = 'Hello ' . $body;
}
header('Content-Type: text/plain');
header('Content-Length: ' . strlen($text));
echo $text;
"""

# What one of our scripts does, too: compiled code is kept, its globals are fresh for each request.
LUA = """
local json = require('cjson')
local source = [==[
function hello(body) return 'Hello ' .. body end
function transform(body)
  local items, total, names = json.decode(body), 0, {}
  for i, item in ipairs(items) do
    total = total + item.price * item.count
    names[i] = item.name:upper()
  end
  return json.encode({ total = total, names = names })
end
]==]
local shared = setmetatable({ json = json }, { __index = _G })
setfenv(assert(loadstring(source)), shared)()
local function answer(env, name)
  ngx.req.read_body()
  local text = env[name](ngx.req.get_body_data() or '')
  ngx.header.content_type = 'text/plain'
  ngx.header.content_length = #text
  ngx.print(text)
end
local peer = {}
function peer.fresh(name)
  local env = setmetatable({ json = json }, { __index = _G })
  setfenv(assert(loadstring(source)), env)()
  answer(env, name)
end
function peer.shared(name) answer(shared, name) end
return peer
"""

NGINX = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_buffer_size 2m;
  client_max_body_size 4m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  lua_package_path "{folder}/?.lua;;";
  lua_package_cpath "/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/aarch64-linux-gnu/lua/5.1/?.so;;";
  init_by_lua_block {{ peer = require('peer') }}
  upstream back {{ server {back}; keepalive 64; }}
  server {{
    listen {address} backlog=1024;
    location /fresh {{ content_by_lua_block {{ peer.fresh('hello') }} }}
    location /fresh-json {{ content_by_lua_block {{ peer.fresh('transform') }} }}
    location /shared {{ content_by_lua_block {{ peer.shared('hello') }} }}
    location = /back {{ internal; proxy_pass http://back/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /call {{ content_by_lua_block {{
      ngx.req.read_body()
      local got = ngx.location.capture('/back', {{ method = ngx.HTTP_POST, body = ngx.req.get_body_data() }})
      ngx.header.content_length = #got.body
      ngx.print(got.body)
    }} }}
    location / {{ fastcgi_pass unix:{folder}/php.sock; fastcgi_param SCRIPT_FILENAME {folder}/peer.php;
      fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length; }}
  }}
}}
"""

FPM = """
[global]
error_log = {folder}/php.log
daemonize = no
[www]
user = {user}
group = {group}
listen = {folder}/php.sock
listen.mode = 0666
pm = static
pm.max_children = 2
pm.max_requests = 0
php_admin_value[opcache.enable] = 1
php_admin_value[opcache.validate_timestamps] = 0
"""

WORKERD = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "{address}", http = (), service = "main")]
);
const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2024-01-01"
);
"""

WORKER = """
export default { async fetch(request) { return new Response('Hello ' + await request.text()); } };
"""

REDIS = """#!lua name=bench
redis.register_function('hello', function(keys, args) return 'Hello ' .. args[1] end)
"""


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def node(processes, folder):
    address = f"127.0.0.1:{free_port()}"
    script = write(folder, "peer.js", NODE)
    process = processes.start(find("node"), script, address.split(":")[1], listens=address)
    return address, process


def nginx(processes, folder, back):
    """nginx with Lua, and php-fpm behind it."""
    address = f"127.0.0.1:{free_port()}"
    write(folder, "peer.lua", LUA)
    write(folder, "peer.php", PHP)
    fpm = sorted(glob.glob("/usr/sbin/php-fpm*"))[-1]
    owner = "www-data" if os.getuid() == 0 else "nobody"
    config = write(folder, "php.conf", FPM.format(folder=folder, user=owner, group="www-data"))
    php = processes.start(fpm, "--nodaemonize", "--fpm-config", config)
    modules = "/usr/lib/nginx/modules"
    config = write(folder, "nginx.conf", NGINX.format(folder=folder, address=address, back=back, modules=modules))
    process = processes.start(find("nginx"), "-p", folder, "-c", config, listens=address)
    return address, process, php


def workerd(processes, folder, program):
    address = f"127.0.0.1:{free_port()}"
    write(folder, "worker.js", WORKER)
    config = write(folder, "config.capnp", WORKERD.format(address=address))
    process = processes.start(program, "serve", config, listens=address, cwd=folder)
    return address, process


def redis(processes, folder):
    import subprocess
    address = f"127.0.0.1:{free_port()}"
    port = address.split(":")[1]
    process = processes.start(find("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "",
                              "--dir", folder, listens=address)
    subprocess.run(["redis-cli", "-p", port, "-x", "FUNCTION", "LOAD"], input=REDIS, text=True, check=True,
                   stdout=subprocess.DEVNULL)
    return address, process


def nats_server(processes):
    address = f"127.0.0.1:{free_port()}"
    process = processes.start(find("nats-server"), "-a", "127.0.0.1", "-p", address.split(":")[1], listens=address)
    return address, process


def bare(processes, kind, *args):
    """One of the bare peers that are part of the load generator."""
    process, _ = processes.start_talking(os.path.join(BIN, "bench"), kind, *args, ready="ready")
    return process
