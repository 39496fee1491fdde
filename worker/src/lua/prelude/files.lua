-- `io` and `os` on the scratch folder; nothing of the native libraries but the clock is left.
local host = ...
local select, error, unpack = select, error, unpack
local open, read, line, close = host["io.open"], host["file.read"], host["file.line"], host["file.close"]
local input, standard = host["io.input"], host["io.std"]

-- An iterator over what the formats give, or over lines; `closes` at the end.
local function lines(file, closes, ...)
  local count = select("#", ...)
  local formats = count > 0 and {...}
  local function finish(first, ...)
    if first == nil and closes then close(file) end
    return first, ...
  end
  if formats then return function() return finish(read(file, unpack(formats, 1, count))) end end
  return function() return finish(line(file)) end
end

local methods = {}
for _, name in ipairs {"close", "read", "write", "seek", "flush", "setvbuf"} do
  methods[name] = host["file." .. name]
end
function methods.lines(file, ...)
  host["io.type"](file)
  return lines(file, false, ...)
end
host.kinds[0] = {__index = methods, __tostring = host["file.tostring"], __metatable = false}

io = {stdin = standard(0), stdout = standard(1), stderr = standard(2)}
for _, name in ipairs {"open", "close", "read", "write", "flush", "input", "output", "type", "tmpfile", "popen"} do
  io[name] = host["io." .. name]
end
function io.lines(path, ...)
  if path == nil then return lines(input(), false, ...) end
  local file, problem = open(path)
  if not file then error(problem, 2) end
  return lines(file, true, ...)
end

local clock = os
os = {time = clock.time, date = clock.date, clock = clock.clock, difftime = clock.difftime}
for _, name in ipairs {"remove", "rename", "tmpname", "getenv", "setenv", "execute", "exit"} do
  os[name] = host["os." .. name]
end
function os.setlocale() return false end
