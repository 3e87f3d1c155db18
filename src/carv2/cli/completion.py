"""Scripts by which shells complete the words of a command line of ``carv2``, written from the commands' parsers.

A script knows all names, options and choices when it is written, so that pressing Tab starts no Python. A value
without choices is completed as the name of a file.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from carv2.cli import registry
from carv2.cli.parser import parser_for

if TYPE_CHECKING:
    from carv2.cli.parser import Argument


class Completed(NamedTuple):
    """What is completed behind the name of one command."""

    names: tuple[str, ...]
    """Its own, and its aliases."""
    options: list[Argument]
    words: tuple[str, ...]
    """Choices of what has its place."""


def script(shell: str) -> str:
    """The script for ``bash``, ``zsh`` or ``fish``."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](_all())


def _all() -> list[Completed]:
    return [_completed(name) for name in registry.COMMANDS]


def _completed(name: str) -> Completed:
    arguments = parser_for(name, registry.load(name)).arguments()
    words = tuple(word for argument in arguments if not argument.names for word in argument.choices)
    names = (name, *(alias for alias, full in registry.ALIASES.items() if full == name))
    return Completed(names, [argument for argument in arguments if argument.names], words)


def _firsts() -> dict[str, str]:
    """What may follow ``carv2``, with its help: commands, groups of them and aliases."""
    found: dict[str, str] = {}
    for name, text in registry.COMMANDS.items():
        first = name.partition(" ")[0]
        found.setdefault(first, text if first == name else f"commands: {', '.join(_seconds(first))}")
    return found | {alias: registry.COMMANDS[name] for alias, name in registry.ALIASES.items()}


def _seconds(group: str) -> dict[str, str]:
    """What may follow ``carv2 GROUP``, with its help."""
    return {full.partition(" ")[2]: registry.COMMANDS[full] for full in registry.subcommands(group)}


def _groups() -> list[str]:
    return [first for first in _firsts() if registry.subcommands(first)]


# -- bash -------------------------------------------------------------------------------------------------------

_BASH = """# bash: complete the command line of carv2. Load it with: source <(carv2 completion bash)
_carv2() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} name= word= before= i
    if [[ $cur == = ]]; then cur=
    elif [[ $prev == = ]]; then prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case $before in {valued}) before=; continue ;; esac
        before=$word
        case $word in
            -* | =) continue ;;
        esac
        if [[ -z $name ]]; then
            name=$word
            case $name in {groups}) continue ;; esac
            break
        fi
        case "$name $word" in
            {subcommands}) name="$name $word" ;;
        esac
        break
    done
    local options= words= subcommands=
    case $name in
        '') options={flags} subcommands={firsts} ;;
{cases}
    esac
    case "$name $prev" in
{values}
    esac
    if [[ $cur == -* ]]; then words=$options
    elif [[ -z $words ]]; then words=$subcommands
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _carv2 carv2
"""


def _bash(commands: list[Completed]) -> str:
    known = {name for command in commands for name in command.names}
    cases = [_bash_case(command) for command in commands]
    cases += [_bash_group(group) for group in _groups() if group not in known]
    return _BASH.format(
        valued=" | ".join(sorted(registry.FLAGS_WITH_VALUES)),
        groups=" | ".join(_groups()),
        subcommands=" | ".join(shlex.quote(name) for name in registry.COMMANDS if " " in name),
        flags=shlex.quote("--help --version --color"),
        firsts=shlex.quote(" ".join(_firsts())),
        cases="\n".join(cases),
        values="\n".join(_bash_values(commands)),
    )


def _pattern(command: Completed) -> str:
    return " | ".join(shlex.quote(name) for name in command.names)


def _bash_case(command: Completed) -> str:
    options = shlex.quote(" ".join(name for option in command.options for name in option.names))
    words = [*command.words, *_seconds(command.names[0])]
    more = f" subcommands={shlex.quote(' '.join(words))}" if words else ""
    return f"        {_pattern(command)}) options={options}{more} ;;"


def _bash_group(group: str) -> str:
    return f"        {group}) options=--help subcommands={shlex.quote(' '.join(_seconds(group)))} ;;"


def _bash_values(commands: list[Completed]) -> list[str]:
    """Options with choices; of those that take any value nothing is offered but files."""
    found: list[str] = []
    for command in commands:
        for option in command.options:
            if option.value and "--color" not in option.names:
                words = [shlex.quote(f"{name} {flag}") for name in command.names for flag in option.names]
                choices = shlex.quote(" ".join(option.choices))
                found.append(f"        {' | '.join(words)}) words={choices} options= subcommands= ;;")
    return found


# -- fish -------------------------------------------------------------------------------------------------------

_FISH = """# fish: complete the command line of carv2. Load it with: carv2 completion fish | source
function __carv2_name
    set -l words (commandline -opc)
    set -e words[1]
    set -l name ''
    set -l before ''
    for word in $words
        if contains -- $before {valued}
            set before ''
            continue
        end
        set before $word
        if string match -q -- '-*' $word
            continue
        end
        if test -z "$name"
            set name $word
            contains -- $name {groups}; or break
        else
            contains -- "$name $word" {subcommands}; and set name "$name $word"
            break
        end
    end
    echo $name
end
function __carv2_is
    set -l name (__carv2_name)
    contains -- "$name" $argv
end
complete -c carv2 -n '__carv2_is ""' -f
complete -c carv2 -n '__carv2_is ""' -s h -l help -d 'show all commands'
complete -c carv2 -n '__carv2_is ""' -l version -d 'show the version'
complete -c carv2 -n '__carv2_is ""' -l color -d 'colour'
"""


def _fish(commands: list[Completed]) -> str:
    lines = [
        _FISH.format(
            valued=" ".join(sorted(registry.FLAGS_WITH_VALUES)),
            groups=" ".join(_groups()),
            subcommands=" ".join(shlex.quote(name) for name in registry.COMMANDS if " " in name),
        ).rstrip("\n")
    ]
    lines += [_fish_word("", first, text) for first, text in _firsts().items()]
    lines += [_fish_word(group, word, text) for group in _groups() for word, text in _seconds(group).items()]
    for command in commands:
        where = " ".join(f'"{name}"' for name in command.names)
        lines += [_fish_option(where, option) for option in command.options]
        lines += [f"complete -c carv2 -n '__carv2_is {where}' -f -a {word}" for word in command.words]
    return "\n".join(lines) + "\n"


def _fish_word(group: str, word: str, text: str) -> str:
    return f"complete -c carv2 -n '__carv2_is \"{group}\"' -f -a {word} -d {_fish_quoted(text)}"


def _fish_option(where: str, option: Argument) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    value = ""
    if option.choices:
        value = f" -x -a '{' '.join(option.choices)}'"
    elif option.value and "--color" not in option.names:
        value = " -r"
    return f"complete -c carv2 -n '__carv2_is {where}' {names}{value} -d {_fish_quoted(option.help)}"


def _fish_quoted(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


# -- zsh --------------------------------------------------------------------------------------------------------

_ZSH = """#compdef carv2
# zsh: complete the command line of carv2. Load it with: source <(carv2 completion zsh)
_carv2() {{
    local name= word= before= i
    local -a words_before=("${{(@)words[2,CURRENT-1]}}")
    for word in "${{words_before[@]}}"; do
        case $before in ({valued}) before=; continue ;; esac
        before=$word
        [[ $word == -* ]] && continue
        if [[ -z $name ]]; then
            name=$word
            case $name in ({groups}) continue ;; esac
            break
        fi
        case "$name $word" in
            ({subcommands}) name="$name $word" ;;
        esac
        break
    done
    local -a found
    case $name in
        ('') found=({firsts}); _describe -t commands command found; _arguments {flags} ;;
{cases}
    esac
}}
if [[ $funcstack[1] == _carv2 ]]; then _carv2 "$@"  # zsh took it out of a folder of $fpath
else compdef _carv2 carv2
fi
"""


def _zsh(commands: list[Completed]) -> str:
    known = {name for command in commands for name in command.names}
    cases = [_zsh_case(command) for command in commands]
    cases += [f"        ({group}) {_zsh_words(_seconds(group))} ;;" for group in _groups() if group not in known]
    return _ZSH.format(
        valued="|".join(sorted(registry.FLAGS_WITH_VALUES)),
        groups="|".join(_groups()),
        subcommands="|".join(shlex.quote(name) for name in registry.COMMANDS if " " in name),
        firsts=" ".join(_zsh_described(word, text) for word, text in _firsts().items()),
        flags="'--help[show all commands]' '--version[show the version]' '--color[colour]'",
        cases="\n".join(cases),
    )


def _zsh_case(command: Completed) -> str:
    options = [shlex.quote(_zsh_option(name, option)) for option in command.options for name in option.names]
    rest = f"'*:word:({' '.join(command.words)})'" if command.words else "'*:file:_files'"
    seconds = _seconds(command.names[0])
    first = f"{_zsh_words(seconds)}; " if seconds else ""
    pattern = "|".join(shlex.quote(name) for name in command.names)
    return f"        ({pattern}) {first}_arguments {' '.join(options)} {rest} ;;"


def _zsh_words(words: dict[str, str]) -> str:
    described = " ".join(_zsh_described(word, text) for word, text in words.items())
    return f"found=({described}); _describe -t commands command found"


def _zsh_described(word: str, text: str) -> str:
    return shlex.quote(f"{word}:{text}")


def _zsh_option(name: str, option: Argument) -> str:
    text = "".join(f"\\{character}" if character in "[]:\\" else character for character in option.help)
    if "--color" in option.names:
        return f"{name}[{text}]"
    if not option.value:
        return f"{name}[{text}]"
    values = f"({' '.join(option.choices)})" if option.choices else "_files"
    label = "".join(character for character in option.value if character not in ":[]\\")
    return f"*{name}{'=' if name.startswith('--') else '+'}[{text}]:{label}:{values}"
