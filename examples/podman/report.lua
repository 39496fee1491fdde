--* subject: funcs.report
--* name: report
--* executor: podman
--* timeout: 10s
--* memory: 32MiB

-- A whole program in a container: the payload is its standard input, its standard output the answer. It has
-- no network, no capability, a read-only root with memory at /tmp, and a user that is nobody.
--   podman build -t localhost/msgscript-report examples/podman
--   curl -X POST -d 'the cat and the dog' http://127.0.0.1:7643/funcs.report
{
  "image": "localhost/msgscript-report",
  "command": ["/report", "top"],
  "pull": "never"
}
