--* name: greeting

-- A library: put in front of each script that says `--* require: greeting`, as one chunk, so that the
-- script sees its locals.

local words = { en = "Hello", de = "Hallo", es = "Hola", fr = "Bonjour" }

local function greeting(language, name)
  return (words[language] or words.en) .. ", " .. name .. "!"
end
