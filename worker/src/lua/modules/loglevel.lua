-- `loglevel`: a logger for each level; those below the level chosen write nowhere.
local log = require("log")
local pairs, error, upper, tostring = pairs, error, string.upper, tostring

local loglevel = setmetatable({
  levels = {DEBUG = 0, INFO = 1, WARN = 2, ERROR = 3},
  defaultOutput = "STDERR",
  _level = "INFO",
}, {__index = log})

local function checked(level)
  local name = upper(level)
  if not loglevel.levels[name] then error("Illegal level " .. tostring(level), 3) end
  return name
end

local function output(level)
  local levels = loglevel.levels
  return levels[loglevel._level] <= levels[level] and loglevel.defaultOutput or "/dev/null"
end

for level in pairs(loglevel.levels) do
  loglevel[level] = log.new(output(level), "[" .. level .. "] ", {date = true})
end

function loglevel.get_level() return loglevel._level end

function loglevel.set_level(level)
  loglevel._level = checked(level)
  for name in pairs(loglevel.levels) do loglevel[name]:set_output(output(name)) end
end

function loglevel.default_output() return loglevel.defaultOutput end

function loglevel.set_default_output(path) loglevel.defaultOutput = path end

return loglevel
