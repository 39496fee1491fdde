--* subject: funcs.words
--* name: words
--* timeout: 2s
--* memory: 32MiB

-- The most frequent words of a text, and a limit of its own on time and memory. The text takes a way
-- round through a file: `io` and `os` work on a scratch folder that lives in memory, empty at the start
-- of each run and gone at its end.
--   curl -X POST -d 'the cat and the dog and the bird' http://127.0.0.1:7643/funcs.words
--   nats request funcs.words 'the cat and the dog'

local function count(name)
  local counts, order = {}, {}
  for line in io.lines(name) do
    for word in line:lower():gmatch("%a+") do
      if not counts[word] then
        counts[word] = 0
        order[#order + 1] = word
      end
      counts[word] = counts[word] + 1
    end
  end
  table.sort(order, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  return counts, order
end

function OnMessage(subject, payload)
  local file = assert(io.open("text.txt", "w"))
  file:write(payload, "\n")
  file:close()

  local counts, order = count("text.txt")
  local lines = {}
  for place = 1, math.min(5, #order) do
    lines[place] = order[place] .. " " .. counts[order[place]]
  end
  os.remove("text.txt")
  return table.concat(lines, "\n")
end
