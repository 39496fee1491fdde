-- `tac`: reads a file from its end, a slice at a time.
local tac, base = ...
local class, text = base.chunk("objects")(base)
local open, seek, read, close = base["io.open"], base["file.seek"], base["file.read"], base["file.close"]
local max, byte, sub, gsub, error, rawset = math.max, string.byte, string.sub, string.gsub, error, rawset

local SLICE, LONGEST, NEWLINE = 4096, 8192, 10

local methods = {}
local new, of, meta = class("tac", methods)
rawset(_G, "tac_ud", meta)

function tac.open(path)
  local file, problem = open(text(path, 1, "open"), "r")
  if not file then return nil, problem end
  local size = seek(file, "end")
  return new {file = file, at = size, rest = "", stop = 0, whole = size == 0}
end

-- Puts the slice before `at` in front of what is left, which ends at `stop`.
local function fill(state)
  local from, last = max(0, state.at - SLICE), state.rest == ""
  seek(state.file, "set", from)
  local slice = read(state.file, state.at - from) or ""
  state.rest = slice .. sub(state.rest, 1, state.stop)
  state.stop, state.at = #state.rest, from
  if last and byte(slice, -1) == NEWLINE then state.stop = state.stop - 1 end
end

function methods.line(self)
  local state = of(self, "line")
  if not state.file then error("tac not initialized", 2) end
  if state.whole then return nil end
  if state.rest == "" then fill(state) end
  local from = state.stop
  while true do
    while from > 0 and byte(state.rest, from) ~= NEWLINE do from = from - 1 end
    if from > 0 or state.at == 0 or state.stop > LONGEST then break end
    local before = state.stop
    fill(state)
    from = state.stop - before
  end
  local line = sub(state.rest, from + 1, state.stop)
  state.stop, state.whole = from - 1, from == 0
  if state.whole and state.at > 0 then return nil end
  return (gsub(line, "\r$", ""))
end

function methods.close(self)
  local state = of(self, "close")
  if not state.file then error("tac not initialized", 2) end
  close(state.file)
  state.file = nil
end

return tac
