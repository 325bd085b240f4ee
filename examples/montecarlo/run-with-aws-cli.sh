#!/bin/sh
# The same run as run.py with the AWS CLI as the only client.
#
#   run-with-aws-cli.sh [FOLDER-OR-S3-URI]
#
# QUEUE (default: default) is the job queue, PYTHON (default: python3) an interpreter with requirements.txt installed,
# IMAGE a container image with the programs on its PATH, for jobs in containers, PASS the names of variables to pass on
# to the jobs (anyone who may describe the jobs can read them). Shards and paths: request.json.
set -eu

here=$(dirname "$(readlink -f "$0")")
queue=${QUEUE:-default}
output=${1:-demo-output/montecarlo}
python=$(command -v "${PYTHON:-python3}")
shards=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["shards"])' "$here/request.json")

# ---- the inputs, where split looks for them
case $output in
s3://*)
    output=${output%/}
    copy() { aws s3 cp --only-show-errors "$1" "$output/inputs/"; }
    ;;
*)
    mkdir -p "$output/inputs"
    output=$(cd "$output" && pwd)
    copy() { cp "$1" "$output/inputs/"; }
    ;;
esac
for file in "$here/request.json" "$here/data/index-history.csv.gz" "$here/data/risk-free.csv"; do
    copy "$file"
done

# ---- the job definition
document=file://$here/job-definition.json
if [ -n "${IMAGE:-}" ]; then
    document=$("$python" -c 'import json, sys
document = json.load(open(sys.argv[1]))
document["containerProperties"]["image"] = sys.argv[2]
print(json.dumps(document))' "$here/job-definition.json" "$IMAGE")
fi
definition=$(aws batch register-job-definition --cli-input-json "$document" --query jobDefinitionArn --output text)

# ---- the jobs: submit STEP KEY FOLDER [OPTION…] prints the job's id
program() {
    if [ -n "${IMAGE:-}" ]; then echo "montecarlo-$1"; else echo "$here/bin/montecarlo-$1"; fi
}
# arguments are pairs NAME VALUE; JSON, because the CLI's shorthand splits at commas
json_object() {
    "$python" -c 'import json, sys
words = sys.argv[1:]
print(json.dumps(dict(zip(words[::2], words[1::2]))))' "$@"
}
overrides() {
    "$python" -c 'import json, os, sys
variables = {"OPENBLAS_NUM_THREADS": "1"}
python, image, output, *passed = sys.argv[1:]
if not image:
    variables["MONTECARLO_PYTHON"] = python
if output.startswith("s3://") and "AWS_ENDPOINT_URL_S3" in os.environ:
    passed.append("AWS_ENDPOINT_URL_S3")
variables |= {name: os.environ[name] for name in passed}
print(json.dumps({"environment": [{"name": name, "value": value} for name, value in variables.items()]}))' \
        "$python" "${IMAGE:-}" "$output" ${PASS:-}
}
submit() {
    step=$1 key=$2 folder=$3
    shift 3
    aws batch submit-job --job-name "montecarlo-$step" --job-queue "$queue" --job-definition "$definition" \
        --parameters "$(json_object action "$(program "$step")" bucket "$output" key "$key" \
            outputUri "$output/$folder")" \
        --container-overrides "$(overrides)" "$@" --query jobId --output text
}

jobs=
stop() {
    for job in $jobs; do
        aws batch terminate-job --job-id "$job" --reason "interrupted by the user" || echo "could not stop $job" >&2
    done
    exit 130
}
trap stop INT TERM

split=$(submit split inputs/request.json shards)
jobs=$split
price=$(submit price shards/ prices --array-properties "size=$shards" --depends-on "jobId=$split")
jobs="$price $jobs"
report=$(submit report prices/ report --depends-on "jobId=$price")
jobs="$report $jobs"

# ---- wait: the report ends last, whether it ran or what it depends on failed
shown=
while :; do
    state=$(aws batch describe-jobs --jobs "$split" "$price" "$report" --output text \
        --query 'jobs[].[jobName, status, arrayProperties.statusSummary.SUCCEEDED]')
    [ "$state" = "$shown" ] || printf '%s\n\n' "$state"
    shown=$state
    status=$(aws batch describe-jobs --jobs "$report" --query 'jobs[0].status' --output text)
    case $status in SUCCEEDED | FAILED) break ;; esac
    sleep 1
done
trap - INT TERM

# ---- the log of the report, or of whatever failed
show_log() {
    stream=$(aws batch describe-jobs --jobs "$1" --query 'jobs[0].container.logStreamName' --output text)
    [ "$stream" = None ] || aws logs get-log-events --log-group-name /aws/batch/job --log-stream-name "$stream" \
        --start-from-head --query 'events[].[message]' --output text
}
if [ "$status" = SUCCEEDED ]; then
    show_log "$report"
    printf '\nPicture: %s\nEvery option: %s\n' "$output/report/report.png" "$output/report/options.csv"
    exit 0
fi
for job in "$split" "$price" "$report"; do
    status=$(aws batch describe-jobs --jobs "$job" --query 'jobs[0].status' --output text)
    [ "$status" = FAILED ] || continue
    if [ "$job" = "$price" ]; then
        child=$(aws batch list-jobs --array-job-id "$price" --job-status FAILED --output text \
            --query 'jobSummaryList[0].jobId')
        [ "$child" = None ] || job=$child
    fi
    aws batch describe-jobs --jobs "$job" --query 'jobs[0].[jobName, jobId, statusReason]' --output text >&2
    show_log "$job" >&2
    exit 1
done
