"""Scripts by which shells complete command lines, made of the registry and of what each parser takes.

A script knows all by itself: completing starts no Python. Each goes through the words in front of the cursor for
the command's name (flags may stand between the words of one), and then offers its flags, their values, or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cli import registry
from carv2.cli.parser import parser_for
from carv2.unixfs.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2.cli.parser import Argument

FILES, FOLDERS, ANYTHING = "files", "folders", "anything"
"""What a value is, if it is none of a few words."""

_OF_FILES = {"FILE", "IN", "OUT", "SRC", "DST", "PATH", "DENSE", "ORIGINAL", "INDEX", "DEALS", "SOURCE", "PATCH"}
_BOOLEANS = ("true", "false")
_BEFORE = ("--color", "--color=false", "--help", "--version")


class Taken(NamedTuple):
    """What one command takes."""

    name: str
    options: list[Argument]
    places: list[Argument]


def script(shell: str) -> str:
    """The script for ``bash``, ``zsh`` or ``fish``."""
    scripts = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return scripts[shell]([_taken(name) for name in registry.COMMANDS])


def _taken(name: str) -> Taken:
    arguments = parser_for(name, registry.load(name)).arguments()
    options = [argument for argument in arguments if argument.names]
    return Taken(name, options, [argument for argument in arguments if not argument.names])


def kind(argument: Argument) -> str:
    """What its value is: one of the names above, or the words that it may be."""
    if argument.choices:
        return " ".join(argument.choices)
    if "--profile" in argument.names:  # which takes a profile in other words too
        return " ".join(PROFILES)
    if argument.value == "DIR":
        return FOLDERS
    return FILES if argument.value in _OF_FILES else ANYTHING


def _has_value(option: Argument) -> bool:
    return bool(option.value) and not option.value.startswith("=")  # which --color takes behind a = only


def _flags(taken: Taken) -> list[str]:
    return [flag for option in taken.options for flag in option.names]


def _first_words() -> dict[str, str]:
    """The words that may come first, and what is said about each."""
    words: dict[str, str] = {}
    for name, text in registry.COMMANDS.items():
        first, _, second = name.partition(" ")
        if not second:
            words[first] = text
        elif first not in words:
            words[first] = f"commands: {', '.join(_second_words(first))}"
    return words | {alias: registry.COMMANDS[name] for alias, name in registry.ALIASES.items()}


def _second_words(first: str) -> dict[str, str]:
    """The words that may come second, and what is said about each."""
    names = registry.subcommands(first)
    return {name.removeprefix(f"{first} "): registry.COMMANDS[name] for name in names}


def _groups() -> list[str]:
    return [first for first in _first_words() if registry.subcommands(first)]


def _two_words() -> list[str]:
    return [name for name in registry.COMMANDS if " " in name]


def _by_value(commands: list[Taken]) -> dict[str, list[tuple[str, str]]]:
    """By kind of value: pairs of command and flag; ``*`` is every command, where all with the flag agree."""
    kinds: dict[str, dict[str, str]] = {}
    for taken in commands:
        for option in taken.options:
            for flag in option.names:
                kinds.setdefault(flag, {})[taken.name] = kind(option) if _has_value(option) else ""
    found: dict[str, list[tuple[str, str]]] = {}
    for flag, by_command in sorted(kinds.items()):
        values = set(by_command.values())
        for name, value in by_command.items() if len(values) > 1 else [("*", values.pop())]:
            if value:
                found.setdefault(value, []).append((name, flag))
    return found


def _quoted(text: str) -> str:
    """For bash and zsh, literally."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fill(template: str, **parts: Iterable[str]) -> str:
    """The template with each line ``@name@`` replaced by lines, at its own indentation."""
    lines: list[str] = []
    for line in template.splitlines():
        name = line.strip().strip("@")
        if line.strip() == f"@{name}@" and name:
            lines += [" " * line.index("@") + part for part in parts[name]]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


_BASH = """\
# Completion of carv2 for bash; made by: carv2 completion bash

_carv2() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} equals=
    if [[ $word == = ]]; then
        word= equals=1
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]} equals=1
    fi
    COMPREPLY=()
    if [[ $before == --color && -n $equals ]]; then  # a value of its own would be the next word
        COMPREPLY=($(compgen -W '@booleans@' -- "$word"))
        return
    fi

    local at first= second= passed=
    for (( at = 1; at < COMP_CWORD; at++ )); do
        if [[ ${COMP_WORDS[at]} == = ]]; then  # the value of the flag before
            (( at++ ))
            passed=
            continue
        elif [[ -n $passed ]]; then
            passed=
            continue
        fi
        case ${COMP_WORDS[at]} in
            @passed_over@
            -*) ;;
            *)
                if [[ -z $first ]]; then
                    first=${COMP_WORDS[at]}
                else
                    second=${COMP_WORDS[at]}
                    break
                fi
                ;;
        esac
    done
    case $first in
        @aliases@
    esac
    local name=$first
    case "$first $second" in
        @two_words@
    esac

    case $name:$before in
        @values@
    esac

    local words=
    if [[ $word == -* ]]; then
        case $name in
            @options@
        esac
    elif [[ -z $first ]]; then
        @first_words@
    else
        case $name in
            @places@
        esac
        if [[ -z $second ]]; then
            case $first in
                @second_words@
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}

complete -o default -F _carv2 carv2
"""


def _bash(commands: list[Taken]) -> str:
    return _fill(
        _BASH.replace("@booleans@", " ".join(_BOOLEANS)),
        passed_over=[f"{'|'.join(sorted(registry.FLAGS_WITH_VALUES))}) passed=1 ;;"],
        aliases=[f"{alias}) first={name} ;;" for alias, name in registry.ALIASES.items()],
        two_words=[f'{"|".join(_quoted(name) for name in _two_words())}) name="$first $second" ;;'],
        values=_bash_values(commands),
        options=[
            f"'') words={_quoted(' '.join(_BEFORE))} ;;",
            *(f"{_quoted(taken.name)}) words={_quoted(' '.join(_flags(taken)))} ;;" for taken in commands),
        ],
        first_words=[f"words={_quoted(' '.join(_first_words()))}"],
        places=[f"{_quoted(taken.name)}) {_bash_places(taken)} ;;" for taken in commands],
        second_words=[f'{first}) words="$words {" ".join(_second_words(first))}" ;;' for first in _groups()],
    )


def _bash_values(commands: list[Taken]) -> list[str]:
    lines: list[str] = []
    for value, pairs in _by_value(commands).items():
        patterns = "|".join(f"{name if name == '*' else _quoted(name)}:{flag}" for name, flag in pairs)
        done = {FILES: ":", FOLDERS: _BASH_FOLDERS, ANYTHING: _BASH_NOTHING}
        words = f'COMPREPLY=($(compgen -W {_quoted(value)} -- "$word"))'
        lines.append(f"{patterns}) {done.get(value, words)}; return ;;")
    return lines


_BASH_FOLDERS = "compopt +o default -o dirnames 2>/dev/null"
_BASH_NOTHING = "compopt +o default 2>/dev/null"


def _bash_places(taken: Taken) -> str:
    kinds = {kind(place) for place in taken.places}
    if FILES in kinds:
        return ":"
    words = " ".join(value for value in kinds if value not in {FOLDERS, ANYTHING})
    return f"words={_quoted(words)}; {_BASH_FOLDERS if FOLDERS in kinds else _BASH_NOTHING}"


_ZSH = """\
#compdef carv2
# Completion of carv2 for zsh; made by: carv2 completion zsh

_carv2() {
    local at first second passed word
    local -a begun
    integer last=1
    for (( at = 2; at < CURRENT; at++ )); do
        word=${words[at]}
        if [[ -n $passed ]]; then
            passed=
            continue
        fi
        case $word in
            @passed_over@
            (-*) ;;
            (*)
                if [[ -z $first ]]; then
                    first=$word
                    last=$at
                else
                    second=$word
                    break
                fi
                ;;
        esac
    done
    case $first in
        @aliases@
    esac
    local name=$first
    case "$first $second" in
        @two_words@
    esac
    if [[ -z $second ]]; then
        case $first in
            @groups@
        esac
        (( $#begun )) && _describe -t commands command begun
    fi
    words=("${(@)words[last,-1]}")
    (( CURRENT -= last - 1 ))
    case $name in
        ('') [[ $PREFIX == -* ]] && @before@ ;;
        @commands@
    esac
}

if [[ ${funcstack[1]} == _carv2 ]]; then
    _carv2 "$@"
else
    compdef _carv2 carv2
fi
"""


def _zsh(commands: list[Taken]) -> str:
    first = " ".join(_zsh_described(_first_words()))
    return _fill(
        _ZSH.replace("@before@", f"compadd -- {' '.join(_BEFORE)}"),
        passed_over=[f"({'|'.join(sorted(registry.FLAGS_WITH_VALUES))}) passed=1 ;;"],
        aliases=[f"({alias}) first={name} ;;" for alias, name in registry.ALIASES.items()],
        two_words=[f'({"|".join(_quoted(name) for name in _two_words())}) name="$first $second"; last=$at ;;'],
        groups=[
            f"('') begun=({first}) ;;",
            *(f"({word}) begun=({' '.join(_zsh_described(_second_words(word)))}) ;;" for word in _groups()),
        ],
        commands=[line for taken in commands for line in _zsh_command(taken)],
    )


def _zsh_described(texts: dict[str, str]) -> list[str]:
    return [_quoted(f"{word}:{text}") for word, text in texts.items()]


def _zsh_command(taken: Taken) -> list[str]:
    specs = [spec for option in taken.options for spec in _zsh_option(option)] + [
        f"{'*' if place.repeats else '' if place.is_required else ':'}:{_zsh_value(place)}"
        for place in taken.places
    ]
    return [f"({_quoted(taken.name)}) _arguments -S \\", *(f"    {_quoted(spec)} \\" for spec in specs), "    ;;"]


def _zsh_option(option: Argument) -> list[str]:
    text = f"[{_zsh_plain(option.help)}]"
    if option.value.startswith("="):
        return [f"{flag}=-{text}::value:({' '.join(_BOOLEANS)})" for flag in option.names]
    if option.value:
        ends = {True: "=", False: "+"}
        return [f"*{flag}{ends[flag.startswith('--')]}{text}:{_zsh_value(option)}" for flag in option.names]
    return [f"({' '.join(option.names)}){flag}{text}" for flag in option.names]


def _zsh_value(argument: Argument) -> str:
    done = {FILES: "_files", FOLDERS: "_directories", ANYTHING: " "}
    value = kind(argument)
    return f"{_zsh_plain(argument.value)}:{done.get(value, f'({value})')}"


def _zsh_plain(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\[]:" else character for character in text)


_FISH = """\
# Completion of carv2 for fish; made by: carv2 completion fish

function __carv2_begun
    set -l found
    set -l passed 0
    for word in (commandline -opc)[2..-1]
        if test $passed = 1
            set passed 0
            continue
        end
        switch $word
            @passed_over@
                set passed 1
            case '-*'
            case '*'
                set -a found $word
                test (count $found) = 2; and break
        end
    end
    switch "$found[1]"
        @aliases@
    end
    echo "$found"
end

function __carv2_begins
    set -l begun (__carv2_begun)
    test "$begun" = "$argv[1]"
end

function __carv2_is
    set -l begun (__carv2_begun)
    switch "$begun"
        @two_words@
            test "$begun" = "$argv[1]"
        case '*'
            test (string split ' ' -- "$begun")[1] = "$argv[1]"
    end
end

complete -c carv2 -f
complete -c carv2 -n '__carv2_begins ""' -l color -d 'in colour'
complete -c carv2 -n '__carv2_begins ""' -s h -l help -d 'which commands there are'
complete -c carv2 -n '__carv2_begins ""' -l version -d 'print the version'
@lines@
"""


def _fish(commands: list[Taken]) -> str:
    lines = [
        f"complete -c carv2 -n '__carv2_begins \"\"' -a {word} -d {_fish_quoted(text)}"
        for word, text in _first_words().items()
    ]
    for name in _two_words():
        first, _, second = name.partition(" ")
        text = _fish_quoted(registry.COMMANDS[name])
        lines.append(f"complete -c carv2 -n '__carv2_begins {first}' -a {second} -d {text}")
    return _fill(
        _FISH,
        passed_over=[f"case {' '.join(sorted(registry.FLAGS_WITH_VALUES))}"],
        aliases=[
            line
            for alias, name in registry.ALIASES.items()
            for line in (f"case {alias}", f"    set found[1] {name}")
        ],
        two_words=[f"case {' '.join(_quoted(name) for name in _two_words())}"],
        lines=lines + [line for taken in commands for line in _fish_command(taken)],
    )


def _fish_command(taken: Taken) -> list[str]:
    start = f"complete -c carv2 -n '__carv2_is \"{taken.name}\"'"
    places = dict.fromkeys(kind(place) for place in taken.places)
    return [
        *(f"{start} {_FISH_VALUES.get(value, f'-a {_quoted(value)}')}" for value in places if value != ANYTHING),
        *(f"{start} {_fish_option(option)}" for option in taken.options),
    ]


_FISH_VALUES = {FILES: "-F", FOLDERS: "-a '(__fish_complete_directories)'"}


def _fish_option(option: Argument) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.names)
    value = ""
    if _has_value(option):
        taken = kind(option)
        value = {FILES: " -r -F", ANYTHING: " -x"}.get(
            taken, f" -x {_FISH_VALUES.get(taken, f'-a {_quoted(taken)}')}"
        )
    return f"{flags}{value} -d {_fish_quoted(option.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
