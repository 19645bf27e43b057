# Turn policy/presets/*.json into one C file: names and texts, in alphabetical order except that
# the default comes first.
set(body "")
set(table "")
set(n 0)
list(SORT FILES)
foreach(file ${FILES})
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n    " bytes "${bytes}")
    string(APPEND body "static const char preset_${n}[] = {\n    ${bytes}0};\n")
    if(name STREQUAL "minimal-downtime")
        set(table "    {\"${name}\", preset_${n}},\n${table}")
    else()
        string(APPEND table "    {\"${name}\", preset_${n}},\n")
    endif()
    math(EXPR n "${n} + 1")
endforeach()
file(WRITE ${OUT} "/* Made from the JSON files in policy/presets by embed.cmake. */
#include \"policy/presets.h\"

${body}
const struct policy_preset policy_presets[] = {
${table}};
const size_t policy_presets_count = ${n};
")
