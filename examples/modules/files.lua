--* subject: modules.files
--* name: files
-- A file that outlives the script, in a folder of the host: start the server with `--allow files:/srv/notes`.
-- Everything else, relative paths included, is a private folder in memory, gone with the script.

local NOTES = "/srv/notes/all.txt"

function OnMessage(subject, payload)
  local notes, problem = io.open(NOTES, "a")
  if not notes then return "no notes: " .. problem end
  notes:write(payload, "\n")
  notes:close()
  local count = 0
  for _ in io.lines(NOTES) do count = count + 1 end
  return "note " .. count .. " kept"
end
