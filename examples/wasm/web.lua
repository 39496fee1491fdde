--* subject: funcs.wasm.web
--* name: web
--* executor: wasm

-- A component of the world wasi:http/proxy, as `wasmtime serve` and Spin run them, behind HTTP.
-- Build it first: examples/wasm/build
--   curl -i http://127.0.0.1:7643/funcs.wasm.web/any/path?x=1

web.wasm
