# Completion of prn's command line in fish: `prn completion fish | source`, or this file in a folder of fish_complete_path.
# prn itself says what could stand at the cursor, one a line, a description behind a tab.

function __prn_complete
    set -l words (commandline --tokenize --current-process --cut-at-cursor)
    set -l token (commandline --current-token --cut-at-cursor)
    # Without its quotes, unless one is open.
    set -l plain (string unescape -- $token); and set token $plain
    set -l head (string match --regex -- '^--[^=]*=' "$token")
    set -l rest (string replace --regex -- '^--[^=]*=' '' "$token")
    for offer in ($words[1] __complete fish -- $words "$token" 2>/dev/null)
        switch $offer
            case :files
                string replace --regex -- '^' "$head" (__fish_complete_path "$rest")
            case :directories
                string replace --regex -- '^' "$head" (__fish_complete_directories "$rest" '')
            case '*'
                printf '%s\n' $offer
        end
    end
end

complete --command prn --no-files --keep-order --arguments '(__prn_complete)'
