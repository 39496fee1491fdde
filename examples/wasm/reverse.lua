--* subject: funcs.wasm.reverse
--* name: reverse
--* executor: wasm

-- Files in the scratch folder. Build it first: examples/wasm/build
--   printf 'one\ntwo\nthree\n' | curl --data-binary @- http://127.0.0.1:7643/funcs.wasm.reverse

reverse.wasm
