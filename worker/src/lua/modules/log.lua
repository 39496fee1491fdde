-- Loggers. What goes to STDOUT or STDERR is a line of the log, whose level a prefix such as `[WARN]` says.
local log, base = ...
local class, text = base.chunk("objects")(base)
local emit, stamp = log.emit, log.stamp
local open, write, close = base["io.open"], base["file.write"], base["file.close"]
local type, select, error, pairs, rawset, tostring = type, select, error, pairs, rawset, base.text
local format, match, sub, concat, getinfo = string.format, string.match, string.sub, table.concat, debug.getinfo
log.emit, log.stamp = nil, nil

local methods = {}
local new, of, meta = class("logger_ud", methods)
rawset(_G, "logger_ud", meta)

local streams = {["-"] = true, STDOUT = true, STDERR = true, ["/dev/null"] = true}
local known = {"date", "time", "microseconds", "utc", "longfile"}

-- Has a logger write elsewhere; gives the error if that cannot be opened.
local function direct(state, output)
  if state.file then close(state.file) end
  state.closed, state.file = state.file ~= nil, nil
  if streams[output] then
    state.closed = output == "/dev/null"
    return
  end
  local file, problem = open(output, "a")
  if not file then return problem end
  state.file, state.path, state.closed = file, output, false
end

local function flags(state, given, number, name)
  if type(given) ~= "table" then base.expected(number, name, "table", given) end
  local chosen = {}
  for _, flag in pairs(known) do
    local value = given[flag]
    if value ~= nil and type(value) ~= "boolean" then
      error(format("bad argument #1 to %s (%s: must be bool)", name, flag), 3)
    end
    chosen[flag] = value
  end
  state.flags = chosen
end

local function head(state)
  local chosen, layout = state.flags, ""
  if chosen.date then layout = "2006/01/02 " end
  if chosen.microseconds then
    layout = layout .. "15:04:05.000000 "
  elseif chosen.time then
    layout = layout .. "15:04:05 "
  end
  if layout == "" then return state.prefix end
  return state.prefix .. stamp(layout, chosen.utc == true)
end

local function put(state, message)
  if state.closed then return end
  local line = head(state) .. message
  if state.file then
    write(state.file, sub(line, -1) == "\n" and line or line .. "\n")
  else
    emit(match(state.prefix, "^%[(%u+)%]") or "INFO", sub(line, -1) == "\n" and sub(line, 1, -2) or line)
  end
end

-- The caller's place, if it is wanted.
local function place(state)
  if not state.flags.longfile then return end
  local info = getinfo(3, "Sl")
  return format("%s:%d:", info and info.short_src or "?", info and info.currentline or 0)
end

function log.new(...)
  local count, state = select("#", ...), {prefix = "", flags = {}}
  local output, prefix, chosen = ...
  if count > 0 then direct(state, text(output, 1, "new")) end
  if count > 1 then state.prefix = text(prefix, 2, "new") end
  if count > 2 then flags(state, chosen, 3, "new") end
  return new(state)
end

-- As Go's Print: a space between two values of which neither is a string.
function methods.print(self, ...)
  local state, parts, spaced = of(self, "print"), {}, false
  local where = place(state)
  if where then parts[1] = where .. " " end
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    local plain = type(value) ~= "string"
    if plain and spaced then parts[#parts + 1] = " " end
    parts[#parts + 1] = tostring(value)
    spaced = plain
  end
  put(state, concat(parts))
end

function methods.println(self, ...)
  local state, parts = of(self, "println"), {}
  parts[1] = place(state)
  for i = 1, select("#", ...) do parts[#parts + 1] = tostring((select(i, ...))) end
  put(state, concat(parts, " "))
end

function methods.printf(self, layout, ...)
  local state = of(self, "printf")
  local where, message = place(state), format(text(layout, 2, "printf"), ...)
  put(state, where and where .. " " .. message or message)
end

function methods.set_prefix(self, prefix)
  of(self, "set_prefix").prefix = text(prefix, 2, "set_prefix")
end

function methods.set_flags(self, chosen)
  flags(of(self, "set_flags"), chosen, 2, "set_flags")
end

function methods.set_output(self, output)
  return direct(of(self, "set_output"), text(output, 2, "set_output"))
end

function methods.close(self)
  local state = of(self, "close")
  if state.file then
    close(state.file)
    state.file, state.closed = nil, true
  elseif state.path and state.closed then
    return "close " .. state.path .. ": file already closed"
  end
end

return log
