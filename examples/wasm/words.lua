--* subject: funcs.wasm.words
--* name: words
--* executor: wasm

-- A WebAssembly function is a script that names a module; relative paths start from the script's own folder.
-- Build it first: examples/wasm/build
--   curl -X POST -d 'one two three' http://127.0.0.1:7643/funcs.wasm.words

words.wasm
